"""User ids in traces made unreadable by a keyed hash. Plain functions on tables and the
environment; no Ray, no files.

The salt is in no settings file: those hold the name of the variable that holds it. Whoever has it
can find a user's trace by hashing the id; without it, trying all ids is of no use.
"""

import hashlib
import os

import numpy as np
import pyarrow as pa

from dualrec.errors import SettingsError

SHORTEST_SALT = 16  # bytes: ids are few, so a salt that can be guessed hides nothing


def salt_of(variable: str | None) -> bytes | None:
    """The salt that an environment variable holds, or None where no variable is named: ids then
    stay as they are.

    Raises:
        SettingsError: the variable is not set, or too short.
    """
    if variable is None:
        return None
    salt = os.environ.get(variable, "").strip().encode()
    if len(salt) < SHORTEST_SALT:
        state = "too short" if salt else "not set"
        raise SettingsError(
            f"recommend.trace_salt_env: the environment variable {variable} is {state}: set it to a secret of at least "
            f"{SHORTEST_SALT} characters, such as that of `openssl rand -hex 32`, and keep it from night to night; or "
            "set recommend.trace_salt_env to null to keep user ids as they are"
        )
    return salt


def with_hashed_users(traces: pa.Table, salt: bytes) -> pa.Table:
    """The rows with BLAKE2b of each user id, keyed by the salt, in place of `user_id`, ordered by
    it.

    The order is changed because that of the lists would otherwise tell who is who. All 64 bits are
    used: among a million users two share a hash once in 37 million salts, among 100 million once in
    3,700.

    Args:
        traces: any table with a column user_id int64, such as one of schema TRACES.
    """
    place = traces.column_names.index("user_id")
    # BLAKE2b takes keys of at most 64 bytes.
    keyed = hashlib.blake2b(
        key=hashlib.blake2b(salt).digest(), digest_size=8, person=b"dualrec trace"
    )
    ids = np.ascontiguousarray(traces.column(place).to_numpy(), "<i8").tobytes()
    hashes = bytearray()
    for start in range(0, len(ids), 8):
        one = keyed.copy()
        one.update(ids[start : start + 8])
        hashes += one.digest()
    hashed = np.frombuffer(bytes(hashes), "<i8")
    return traces.set_column(place, traces.schema.field(place), pa.array(hashed, pa.int64())).take(
        np.argsort(hashed)
    )
