"""Threads that wait for each other sleep, where the user said nothing else."""

import os
import subprocess
import sys

import pytest

SHOW = "import os; from dualrec.cluster.threads import let_idle_threads_sleep as set; set(); print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
    ids=["unset", "a count of the user's", "a policy of the user's"],
)
def test_idle_threads_sleep_unless_the_user_says_otherwise(
    own: dict[str, str], expected: str
) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))
    }
    shown = subprocess.run(
        [sys.executable, "-c", SHOW],
        env=environment | own,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == expected
