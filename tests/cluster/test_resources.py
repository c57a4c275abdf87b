"""Actors of each kind where the settings name no number, and threads that sleep while they wait."""

import os
import subprocess
import sys

import pytest

from dualrec.config.settings import load_settings
from dualrec.nightly.run_report import actor_counts

SHOW = """
import os
from dualrec.cluster.resources import let_idle_threads_sleep
let_idle_threads_sleep()
print(os.environ.get("GOMP_SPINCOUNT"))
"""


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


def test_on_cpus_one_of_each_kind_works() -> None:
    assert set(actor_counts(load_settings(), 0).values()) == {1}


def test_engines_follow_the_gpus_and_the_other_actors_follow_the_engines() -> None:
    settings = load_settings(
        None, ["language.engine.use_gpu=true", "language.engine.tensor_parallel=2"]
    )
    assert actor_counts(settings, 17) == {"sequence": 2, "prompt": 2, "engine": 8 * 2, "rerank": 8}
    assert actor_counts(settings, 0)["engine"] == 2, "the first engine makes the cluster grow"


def test_what_is_set_stands() -> None:
    own = [
        "language.engine.use_gpu=true",
        "language.engine.replicas=3",
        "recommend.sequence_replicas=5",
        "rerank.replicas=7",
    ]
    counts = actor_counts(load_settings(None, own), 100)
    assert (counts["engine"], counts["sequence"], counts["rerank"]) == (3, 5, 7)
