import pytest

from dualrec.baselines.registry import MODULES, baseline, chosen_systems, is_prompted
from dualrec.errors import SettingsError
from dualrec.evaluation.fitting import drawn

RANGES = {"dimension": (50, 64, 128), "dropout": (0.2, 0.5)}


def test_the_first_trial_is_the_published_default_and_the_others_are_seeded_draws() -> None:
    assert drawn(RANGES, "SASRec", 0, seed=7) == {"dimension": 50, "dropout": 0.2}
    trials = [drawn(RANGES, "SASRec", trial, seed=7) for trial in range(1, 30)]
    assert trials == [drawn(RANGES, "SASRec", trial, seed=7) for trial in range(1, 30)]
    assert {one["dimension"] for one in trials} == {50, 64, 128}
    assert trials != [drawn(RANGES, "NARM", trial, seed=7) for trial in range(1, 30)]


@pytest.mark.parametrize("name", MODULES)
def test_every_baseline_goes_by_its_name_and_cites_its_paper(name: str) -> None:
    system = baseline(name)
    assert system.name == name
    assert all(len(values) == len(set(values)) for values in system.ranges.values())
    assert system.ranges == {} or any(year in system.paper for year in map(str, range(2008, 2025)))


def test_random_and_the_most_popular_stand_in_every_table() -> None:
    assert chosen_systems([]) == ["Random", "MostPop"]
    assert chosen_systems(["SASRec", "NIR"]) == ["Random", "MostPop", "SASRec"]
    assert chosen_systems(["all"]) == list(MODULES)
    assert is_prompted(["NIR"]) and is_prompted(["all"]) and not is_prompted(["SASRec"])
    with pytest.raises(SettingsError, match="there is no NARMM"):
        chosen_systems(["NARMM"])
