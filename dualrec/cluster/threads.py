"""How the threads of one computation wait for each other. Knows OpenMP's environment variables; no
library that reads them."""

import os

SHORT_SPIN = {"GOMP_SPINCOUNT": "1000"}


def let_idle_threads_sleep() -> None:
    """Let OpenMP's threads sleep after a microsecond of waiting for each other, unless the
    environment says otherwise.

    By default they spin for milliseconds. On a core that another process wants too, a thread that
    spins uses up the share
    of the one it waits for: beside two busy loops, two threads trained at a tenth of their quiet
    rate and less (docs/benchmarks.md). Never spinning (OMP_WAIT_POLICY=passive) costs a third of
    the quiet rate. Call it before torch is imported, since OpenMP reads its variables once; a
    cluster that starts from this process inherits them, and runtime_env.yaml sets them for a
    submitted job.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in SHORT_SPIN.items():
            os.environ.setdefault(name, value)
