"""`python -m tests.run_and_night OPTION...`: the commands `run` and `nightly`, with the same
options, on one Ray cluster."""

import sys

from dualrec.cli import app
from dualrec.cluster.resources import let_idle_threads_sleep
from dualrec.cluster.session import ray_session
from dualrec.config.settings import ClusterSettings


def main() -> None:
    """Run both; exit with the code of the first that fails."""
    let_idle_threads_sleep()
    options = sys.argv[1:]
    with ray_session(ClusterSettings()):
        code = app(["run", *options], standalone_mode=False) or app(
            ["nightly", *options], standalone_mode=False
        )
    sys.exit(code)


if __name__ == "__main__":
    main()
