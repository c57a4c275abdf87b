import numpy as np
import pytest

from dualrec.config.settings import DataSettings
from dualrec.data.sample import at_most, sample_users
from dualrec.data.splits import split_of
from tests.conftest import histories_table


def test_a_sample_of_users_is_the_same_in_any_order_and_of_the_size_asked_for(
    random: np.random.Generator,
) -> None:
    settings = DataSettings()
    of_split = [user for user in range(20_000) if split_of(np.array([user]), settings)[0] == "test"]
    histories = histories_table({user: [1] for user in of_split})
    sample = sample_users(histories, 0.25, settings.seed).column("user_id")
    assert len(sample) == pytest.approx(len(of_split) / 4, rel=0.1)
    mixed = histories.take(random.permutation(len(of_split)))
    assert set(sample_users(mixed, 0.25, settings.seed).column("user_id").to_pylist()) == set(
        sample.to_pylist()
    )


@pytest.mark.ray
def test_about_as_many_users_are_left_as_were_asked_for(ray_cluster: None) -> None:
    import ray.data

    histories = ray.data.from_arrow(histories_table({user: [1] for user in range(1000)}))
    assert at_most(histories, 100, 0).count() == pytest.approx(100, rel=0.3)
    assert [at_most(histories, most, 0).count() for most in (0, 1000, 2000)] == [1000] * 3
