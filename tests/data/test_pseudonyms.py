"""User ids in traces under a salt: the same each night, of no use without the salt."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from dualrec.config.settings import load_settings
from dualrec.data.pseudonyms import salt_of, with_hashed_users
from dualrec.errors import SettingsError
from dualrec.storage.schemas import TRACES

SALT = b"a salt of many bytes"


def traces(users: list[int]) -> pa.Table:
    rows = [{"user_id": user, "prompt": f"prompt {user}", "item_ids": [user]} for user in users]
    return pa.Table.from_pylist(rows, schema=TRACES)


def hashes(users: list[int], salt: bytes = SALT) -> dict[str, int]:
    """Of each prompt, whose user is known."""
    rows = with_hashed_users(traces(users), salt).to_pylist()
    return {row["prompt"]: row["user_id"] for row in rows}


def test_only_the_ids_change_and_the_schema_stays() -> None:
    users = list(range(-5, 1000))
    table = with_hashed_users(traces(users), SALT)
    assert table.schema == TRACES
    found = hashes(users)
    assert len(set(found.values())) == len(users)
    assert not set(found.values()) & set(users)
    assert sorted(found) == sorted(f"prompt {user}" for user in users)
    assert all(row["prompt"] == f"prompt {row['item_ids'][0]}" for row in table.to_pylist())


def test_a_user_keeps_its_hash_whatever_the_other_rows_and_blocks() -> None:
    chunked = pa.concat_tables([traces([3]), traces([1, 2])])
    rows = {row["prompt"]: row["user_id"] for row in with_hashed_users(chunked, SALT).to_pylist()}
    assert rows == hashes([1, 2, 3])
    # As documented, so that whoever has the salt finds a user.
    key = hashlib.blake2b(SALT).digest()
    digest = hashlib.blake2b(
        (42).to_bytes(8, "little"), key=key, digest_size=8, person=b"dualrec trace"
    ).digest()
    assert hashes([42]) == {"prompt 42": int.from_bytes(digest, "little", signed=True)}


@pytest.mark.parametrize("other", [b"a salt of many byteS", SALT * 9, b"x" * 64, b"x" * 65])
def test_another_salt_gives_other_hashes(other: bytes) -> None:
    assert not set(hashes([1, 2, 3]).values()) & set(hashes([1, 2, 3], other).values())


def test_the_place_of_a_row_tells_nothing_of_its_user() -> None:
    table = with_hashed_users(traces(list(range(500))), SALT)
    found = table.column("user_id").to_numpy()
    assert (np.diff(found) > 0).all()
    places = np.array([row[0] for row in table.column("item_ids").to_pylist()])
    assert abs(np.corrcoef(places, np.arange(500))[0, 1]) < 0.2


def test_no_rows_are_none() -> None:
    assert with_hashed_users(traces([]), SALT) == TRACES.empty_table()


def test_the_salt_is_what_the_variable_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SALT", " 0123456789abcdef\n")
    assert salt_of("A_SALT") == b"0123456789abcdef"
    assert salt_of(None) is None


@pytest.mark.parametrize(
    ("held", "said"),
    [(None, "not set"), ("", "not set"), ("  ", "not set"), ("guessed", "too short")],
)
def test_a_variable_without_a_salt_is_told_by_its_name(
    held: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_SALT", raising=False)
    if held is not None:
        monkeypatch.setenv("A_SALT", held)
    with pytest.raises(
        SettingsError, match=rf"trace_salt_env: the environment variable A_SALT is {said}"
    ) as raised:
        salt_of("A_SALT")
    assert "guessed" not in str(raised.value)


def test_a_salt_in_place_of_a_name_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="recommend.trace_salt_env") as raised:
        load_settings(None, ["recommend.trace_salt_env=0123-4567-89ab-cdef"])
    assert "4567" not in str(raised.value)
