import math
from math import log2
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from dualrec.config.settings import overridden
from dualrec.data.prepare import prepare, prepared
from dualrec.ranking.fusion import (
    WEIGHTS,
    calibration_requests,
    choose_weight,
    hit_at,
    ndcg_at,
)
from dualrec.storage.workspace import Workspace


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_every_decoding_is_weighed_on_the_same_seeded_sample_of_validation_users(
    movielens: Path, settings_for
) -> None:
    settings = settings_for(
        f"data.source={movielens}", "data.validation_fraction=0.25", "ranking.calibration_users=5"
    )
    prepare(settings)
    workspace = Workspace.of(settings)

    def users(*changes: str) -> set[int]:
        changed = overridden(settings, list(changes))
        requests = calibration_requests(workspace, prepared(workspace, changed), changed)
        assert requests is not None
        return {row["user_id"] for row in requests.iter_rows()}

    sample = users()
    assert len(sample) == 5
    assert sample == users("language.decoding=shortlist", "language.history_length=3")
    assert sample != users("ranking.seed=1")


def test_a_weight_must_earn_its_place(random: np.random.Generator) -> None:
    base = random.random(200)
    noise = {0.0: base, 0.5: base + random.normal(0.001, 0.2, 200), 1.0: base - 0.2}
    clear = {0.0: base, 0.5: base + 0.1, 1.0: base - 0.2}
    assert choose_weight(noise, 0) == 0.0
    assert choose_weight(clear, 0) == 0.5
    assert choose_weight({0.0: base, 0.5: base - 0.1, 1.0: base + 0.1}, 0) == 1.0
    assert choose_weight(dict.fromkeys((0.0, 0.5, 1.0), np.empty(0)), 0) == 0.0


def test_one_user_shows_no_weight_and_two_may() -> None:
    assert choose_weight({0.0: np.zeros(1), 1.0: np.ones(1)}, 0) == 0.0
    assert choose_weight({0.0: np.zeros(2), 1.0: np.ones(2)}, 0) == 1.0


def test_of_weights_that_are_worth_the_same_the_least_stands(random: np.random.Generator) -> None:
    base = random.random(50)
    assert choose_weight(dict.fromkeys((0.0, 0.5, 1.0), base), 0) == 0.0
    one_lucky_user = base.copy()
    one_lucky_user[7] += 0.5
    assert choose_weight({0.0: base, 0.5: one_lucky_user, 1.0: base - 0.2}, 0) == 0.0


@pytest.mark.parametrize(("errors", "weight"), [(1.5, 0.0), (1.8, 0.5)])
def test_a_gain_counts_from_the_95th_percentile_on(errors: float, weight: float) -> None:
    """A mean gain of 1.645 standard errors is the limit of a one-sided test; a stricter one would
    ask for 1.96."""
    users = 400
    spread = np.array([NormalDist().inv_cdf((user + 0.5) / users) for user in range(users)])
    mixture = spread + errors / math.sqrt(users)
    assert (
        choose_weight({0.0: np.zeros(users), 0.5: mixture, 1.0: np.full(users, -9.0)}, 0) == weight
    )


def test_the_weights_reach_from_one_model_alone_to_the_other_alone() -> None:
    assert WEIGHTS[0] == 0.0 and WEIGHTS[-1] == 1.0
    assert len(WEIGHTS) > 5 and list(WEIGHTS) == sorted(set(WEIGHTS))


def test_the_luckiest_of_many_weights_does_not_pass_for_a_gain() -> None:
    chosen = []
    for seed in range(100):
        random = np.random.default_rng(seed)
        base = random.random(120)
        gains = {
            weight: base + random.normal(0.0, 0.2, 120)
            for weight in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
        }
        chosen.append(choose_weight({0.0: base, **gains, 1.0: base - 0.2}, seed))
    assert np.mean(np.array(chosen) > 0) < 0.1


def test_hits_count_once_within_the_first_k() -> None:
    assert hit_at(1, [5, 6], [6]) == 0.0
    assert hit_at(2, [5, 6], [6]) == 1.0
    assert hit_at(5, [None, 6], [6, 5]) == 1.0
    assert hit_at(5, [], [6]) == 0.0


def test_ndcg_with_one_true_item_is_its_discount() -> None:
    assert ndcg_at(10, [1, 2, 3], [3]) == pytest.approx(1 / log2(4))
    assert ndcg_at(2, [1, 2, 3], [3]) == 0.0


def test_ndcg_with_several_true_items_is_over_the_ideal_list() -> None:
    gained = 1 / log2(2) + 1 / log2(4)
    ideal = 1 / log2(2) + 1 / log2(3)
    assert ndcg_at(3, [8, None, 9], [9, 8]) == pytest.approx(gained / ideal)
    assert ndcg_at(3, [9, 8, None], [9, 8]) == pytest.approx(1.0)
