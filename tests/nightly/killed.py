"""The points at which the job `nightly` is killed; `python -m tests.nightly.killed POINT ...` kills
it there by SIGKILL."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from dualrec import cli
from dualrec.nightly import nightly, plan
from dualrec.publishing import publish
from tests.nightly.site import scored_files

# Point to the module, the function, and whether the driver dies when it begins or when it has
# ended.
POINTS: dict[str, tuple[Any, str, str]] = {
    "before-the-plan": (plan, "write_plan", "begins"),
    "after-the-plan": (plan, "write_plan", "ended"),
    "before-staging": (nightly, "take_over", "begins"),
    "after-scoring": (nightly, "scored_so_far", "ended"),
    "traces-written": (nightly.SnapshotScorer, "write_lists", "begins"),
    "lists-written": (nightly, "verify_lists", "begins"),
    "before-the-commit": (publish, "commit", "begins"),
    "after-the-commit": (publish, "commit", "ended"),
    "before-the-report": (nightly, "write_report", "begins"),
    "in-clean-up": (nightly, "delete_expired", "begins"),
}
AFTER_FILES = {
    "scored-a-few": 2,
    "scored-half": 4,
}  # files of scored users that are there when the driver dies


def die() -> None:
    """Die as by `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(function: Callable[..., Any], when: str, die: Callable[[], None]) -> Callable[..., Any]:
    """Return a function that dies where `function` begins, or once it has ended.

    Args:
        when: begins or ended, as POINTS says.
    """

    def called(*arguments: Any, **named: Any) -> Any:
        if when == "begins":
            die()
        result = function(*arguments, **named)
        die()
        return result

    return called


def _die_after(files: int, workspace: str) -> None:
    while scored_files(workspace) < files:
        time.sleep(0.02)
    die()


def main() -> None:
    """Set the trap and run the job."""
    point = sys.argv.pop(1)
    if point in POINTS:
        owner, name, when = POINTS[point]
        setattr(owner, name, deadly(getattr(owner, name), when, die))
    else:
        workspace = next(word for word in sys.argv if word.startswith("workspace=")).removeprefix(
            "workspace="
        )
        threading.Thread(
            target=_die_after, args=(AFTER_FILES[point], workspace), daemon=True
        ).start()
    cli.main("nightly")


if __name__ == "__main__":
    main()
