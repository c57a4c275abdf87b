import numpy as np

from dualrec.config.settings import DataSettings
from dualrec.data.splits import hashed, split_of


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


def test_the_hash_is_splitmix64_so_that_no_version_moves_a_user_to_another_split() -> None:
    """The first five numbers of the generator that begins at 1234567, as its reference
    implementation gives them."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [int(hashed(np.array([1234567]), seed)[0]) for seed in range(5)] == published
    users = np.array([1234567, 7, 42])
    assert hashed(users, 3).tolist() == [int(hashed(users[[row]], 3)[0]) for row in range(3)], (
        "each by itself"
    )
