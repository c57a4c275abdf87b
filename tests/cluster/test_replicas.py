"""How many actors score users, where the settings do not say."""

from dualrec.config.settings import load_settings
from dualrec.nightly.run_report import actor_counts


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
