"""When ratings are given: sessions of ratings seconds apart, many in the same second, and days
between sessions.

The figures are those of MovieLens 1M and 100K (docs/results.md).
"""

from dataclasses import dataclass

import numpy as np

BEGIN, END = (
    789_652_004,
    1_697_164_147,
)  # seconds since 1970: the first and last ratings of ML-32M, January 1995 to October 2023
SESSION_BREAK_S = 3600  # a longer pause begins a new session
# of the ratings within a session stand in the same second as the one before: a page of movies sent
# at once
TIES = 0.43
PAUSE_FLOOR_S, PAUSE_S, PAUSE_SPREAD = (
    14,
    23,
    1.3,
)  # other pauses: the floor, and a log-normal above it
BREAK, BREAK_SPREAD, BREAK_MOST = (
    0.006,
    1.7,
    0.6,
)  # how often a rating begins a session; it varies by user
AWAY_S, AWAY_SPREAD = 7.9 * 86_400, 2.1  # between sessions


@dataclass(frozen=True)
class Timing:
    """When the events of some users happen, in order.

    Attributes:
        timestamps: int64 (events,), seconds since 1970.
        opens: bool (events,), whether the event is the first of a session.
        progress: float64 (events,), from 0 in a user's first session to 1 in the last; 0 where
            there is one only.
    """

    timestamps: np.ndarray
    opens: np.ndarray
    progress: np.ndarray


def make_timing(counts: np.ndarray, random: np.random.Generator) -> Timing:
    """Times for users with so many events each; those of a user stand together, in order.

    Args:
        counts: int64 (users,), 1 or more each.
    """
    user = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    opens, gaps = _gaps(user, first, random)
    elapsed = np.cumsum(gaps)
    elapsed -= elapsed[first][user]
    span = elapsed[first + counts - 1]
    fits = np.minimum(
        1.0, 0.9 * (END - BEGIN) / np.maximum(span, 1)
    )  # the few who would have gone on for decades
    elapsed, span = np.floor(elapsed * fits[user]), np.floor(span * fits)
    start = BEGIN + np.floor(random.random(len(counts)) * (END - BEGIN - span))
    session = np.cumsum(opens)
    session -= session[first][user]
    last = session[first + counts - 1]
    return Timing(
        (start[user] + elapsed).astype(np.int64), opens, session / np.maximum(last, 1)[user]
    )


def _gaps(
    user: np.ndarray, first: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each event opens a session, and the seconds since the event before it."""
    breaks = np.minimum(
        BREAK * np.exp(BREAK_SPREAD * random.standard_normal(len(first))), BREAK_MOST
    )
    dice, sizes = random.random(len(user)), random.standard_normal(len(user))
    opens = dice < breaks[user]
    opens[first] = True
    ties = ~opens & ((dice - breaks[user]) < TIES * (1 - breaks[user]))
    within = np.minimum(PAUSE_FLOOR_S + PAUSE_S * np.exp(PAUSE_SPREAD * sizes), SESSION_BREAK_S)
    away = SESSION_BREAK_S + AWAY_S * np.exp(AWAY_SPREAD * sizes)
    gaps = np.where(opens, away, np.where(ties, 0.0, within))
    gaps[first] = 0.0
    return opens, np.floor(gaps)
