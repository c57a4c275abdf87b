import numpy as np

from dualrec.data.splits import split_of
from dualrec.settings import DataSettings


def test_the_fractions_are_kept_and_users_keep_their_split_when_data_grows() -> None:
    users = np.arange(20_000)
    splits = split_of(users, DataSettings())
    shares = [float((splits == name).mean()) for name in ("train", "validation", "test")]
    assert np.allclose(shares, [0.70, 0.15, 0.15], atol=0.01)
    assert (split_of(users[::-1], DataSettings())[::-1] == splits).all()


def test_another_seed_gives_another_split_and_the_same_seed_the_same() -> None:
    users = np.arange(1000)
    assert (split_of(users, DataSettings()) == split_of(users, DataSettings(seed=0))).all()
    assert (split_of(users, DataSettings()) != split_of(users, DataSettings(seed=1))).any()
