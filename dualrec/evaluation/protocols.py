"""Whom a protocol asks about, what it shows of them, and what it hides. Knows tables and arrays;
not systems or Ray.

next_item      the last movie is hidden; whole catalog
last_five      the last five are hidden, and any of them is true; whole catalog
candidates_20  as next_item, but only the hidden movie and 19 random unwatched ones are ranked,
under several seeds time_split     everything from a moment on is hidden, from every fitted thing
and of every user; whole catalog of then

Movies of the same time stand in the order of their file (see data/histories.py): of several last
ones with one timestamp, those later in the file are hidden.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dualrec.data.catalog import numbers_among
from dualrec.data.requests import HELD_OUT, Protocol

CANDIDATES = 20
COLD_USERS = "time_split, cold users"

DESCRIPTIONS = {
    "next_item": "Each test user's last movie is hidden; the whole catalog without what was watched is ranked.",
    "last_five": "Each test user's last five movies are hidden, and a hit is any of them; the whole catalog without "
    "what was watched is ranked. The paper's protocol.",
    "candidates_20": "Each test user's last movie is hidden; it is ranked among itself and 19 random unwatched movies, "
    "under {seeds} seeds whose metrics are averaged for each user. Guessing gives HR@1 0.05 and HR@5 0.25.",
    "time_split": "Everything from {moment} UTC on was hidden from every model; all users with movies before and after "
    "it are asked, and a hit is any movie that they watched after it.",
    COLD_USERS: "The same for users who had watched nothing before the moment: nothing is known of them.",
}


@dataclass(frozen=True)
class Cases:
    """The users of one protocol, ordered by user id. Items are numbers from 1 in the order of the
    catalog.

    Attributes:
        user_ids: int64 (n,).
        visible: int64 each: the history that may be seen, oldest first.
        truth: int64 each: the hidden items, oldest first, one at least.
        candidates: int32 (seeds, n, 20): what is ranked under each seed; None where it is the whole
            catalog.
    """

    user_ids: np.ndarray
    visible: list[np.ndarray]
    truth: list[np.ndarray]
    candidates: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.user_ids)


def cut_cases(histories: pa.Table, item_ids: np.ndarray, protocol: Protocol) -> Cases:
    """Hide the last movies of each history; users with none left over are not asked.

    Args:
        histories: schema HISTORIES, items of the catalog only.
        item_ids: the catalog's, int64 (N,), ascending.
    """
    held_out = HELD_OUT[protocol]
    ordered = histories.sort_by("user_id")
    rows = list(
        zip(ordered.column("user_id").to_pylist(), numbered(ordered, item_ids), strict=True)
    )
    asked = [(user_id, numbers) for user_id, numbers in rows if len(numbers) > held_out]
    return Cases(
        np.array([user_id for user_id, _ in asked], np.int64),
        [numbers[:-held_out] for _, numbers in asked],
        [numbers[-held_out:] for _, numbers in asked],
    )


@dataclass(frozen=True)
class TimeSplit:
    """Users who watched something after a moment.

    Attributes:
        warm, cold: those who had and who had not watched anything before.
        cold_items: the share of hidden movies that nobody could recommend, since the catalog of
            then lacks them.
        only_cold_items: users, left out of both, all of whose hidden movies are such.
    """

    warm: Cases
    cold: Cases
    cold_items: float
    only_cold_items: int


def time_cases(before: pa.Table, whole: pa.Table, item_ids: np.ndarray, moment: int) -> TimeSplit:
    """Split histories at a moment.

    Args:
        before: histories that end before the moment (`data.until`), of the catalog of then.
        whole: the same users' whole histories.
        item_ids: of the catalog of then, int64 (N,), ascending.
        moment: seconds since 1970.
    """
    known = dict(zip(before.column("user_id").to_pylist(), numbered(before, item_ids), strict=True))
    warm: list[tuple[int, np.ndarray, np.ndarray]] = []
    cold: list[tuple[int, np.ndarray, np.ndarray]] = []
    hidden, hidden_cold, nothing_left = 0, 0, 0
    columns = (
        whole.sort_by("user_id").column(name).to_pylist()
        for name in ("user_id", "item_ids", "timestamps")
    )
    for user_id, items, times in zip(*columns, strict=True):
        later = np.array(items, np.int64)[np.array(times, np.int64) >= moment]
        numbers = numbers_among(item_ids, later)
        hidden, hidden_cold = hidden + len(later), hidden_cold + int((numbers < 0).sum())
        truth = numbers[numbers > 0]
        nothing_left += int(len(later) > 0 and not len(truth))
        if len(truth):
            visible = known.get(user_id, np.zeros(0, np.int64))
            (warm if len(visible) else cold).append((user_id, visible, truth))
    return TimeSplit(_cases(warm), _cases(cold), hidden_cold / max(hidden, 1), nothing_left)


def moment_of(histories: pa.Table, share: float) -> int:
    """The first second of the day before which this share of all interactions happened, seconds
    since 1970."""
    times = pc.list_flatten(histories.column("timestamps")).to_numpy()
    return int(np.quantile(times, share)) // 86_400 * 86_400


def sampled(cases: Cases, most: int, seed: int) -> Cases:
    """A seeded sample of at most `most` users; 0 takes all."""
    if not most or len(cases) <= most:
        return cases
    chosen = np.sort(np.random.default_rng(seed).permutation(len(cases))[:most])
    return Cases(
        cases.user_ids[chosen],
        [cases.visible[row] for row in chosen],
        [cases.truth[row] for row in chosen],
    )


def with_candidates(cases: Cases, items: int, seeds: range) -> Cases:
    """The same users, with candidates to rank under each seed."""
    return replace(
        cases, candidates=np.stack([candidate_sets(cases, items, seed) for seed in seeds])
    )


def candidate_sets(cases: Cases, items: int, seed: int) -> np.ndarray:
    """The hidden movie and 19 random others that the user has not watched, in random order: int32
    (n, 20).

    Fewer where the catalog has no more; 0 fills up. The same for the same user and seed.
    """
    sets = np.zeros((len(cases), CANDIDATES), np.int32)
    for row, (user_id, visible, truth) in enumerate(
        zip(cases.user_ids, cases.visible, cases.truth, strict=True)
    ):
        random = np.random.default_rng([seed, int(user_id) % 2**63])
        free = np.setdiff1d(
            np.arange(1, items + 1), np.concatenate([visible, truth]), assume_unique=True
        )
        others = random.permutation(free)[: CANDIDATES - 1]
        chosen = random.permutation(np.concatenate([truth[-1:], others]))
        sets[row, : len(chosen)] = chosen
    return sets


def numbered(histories: pa.Table, item_ids: np.ndarray) -> list[np.ndarray]:
    """The item numbers of each history, int64; every item must be among `item_ids`."""
    lists = histories.column("item_ids").combine_chunks()
    numbers = numbers_among(
        item_ids, pc.list_flatten(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    assert (numbers > 0).all(), "histories hold an item that the catalog lacks"
    ends = np.cumsum(pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64))
    return np.split(numbers, ends[:-1]) if len(ends) else []


def _cases(rows: list[tuple[int, np.ndarray, np.ndarray]]) -> Cases:
    return Cases(
        np.array([user for user, _, _ in rows], np.int64),
        [seen for _, seen, _ in rows],
        [t for _, _, t in rows],
    )
