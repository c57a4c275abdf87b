"""What users rate, in which order, and how many stars they give.

A user draws a genre by taste and a movie of its shelf by popularity, then goes along the shelf: the
next movie is near the last one, so of its genre and about its year, more often ahead of it than
behind. Steps are taken on the scale of cumulated popularity, where every place is as likely as any
other, so that walking leaves each movie its popularity. Now and then, and in a new session, the
user draws anew. Taste changes from the first to the last session.
"""

import numpy as np
from scipy.special import ndtri

from .catalog import Shelves
from .timing import Timing

# With these, a first-order Markov chain finds about as many next movies, and the next movie shares
# a genre about as much more often than chance, as in MovieLens 1M.
JUMP = 0.30  # of the events within a session draw a genre and a movie anew
STEP, AHEAD = (
    0.012,
    0.75,
)  # the mean length of a step, in shares of all ratings, and how many go ahead
# how much alike users are: the sum of the parameters of the Dirichlet distribution of tastes
TASTE = 6.0
WIDER = (
    2.0  # a movie that the user has rated is replaced by one near it, farther away in each round,
)
NEAR_ROUNDS, ROUNDS = (
    6,
    24,
)  # and after so many rounds by one from anywhere; who is left then is given what is left

# ML-32M: ratings of 0.5 to 5 stars.
STARS = np.array(
    [
        525_132,
        946_675,
        531_063,
        2_028_622,
        1_685_386,
        6_054_990,
        4_290_105,
        8_367_654,
        2_974_000,
        4_596_577,
    ]
)
OF_MOVIE, OF_USER, OF_TASTE = (
    0.25,
    0.20,
    0.05,
)  # what explains the variance of ratings; the rest is chance


def make_movies(
    counts: np.ndarray,
    timing: Timing,
    shelves: Shelves,
    repeats: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """The movie of each event, int64 (events,): places in the order of the shelves.

    Args:
        counts: int64 (users,), each user's events.
        repeats: bool (users,), users who may rate a movie again; the others never do.
    """
    user = np.repeat(np.arange(len(counts)), counts)
    places, low, high = _walk(user, timing, shelves, len(counts), random)
    movies = _movie_at(places, shelves)
    for round_ in range(1, ROUNDS + 1):
        again = _again(user, movies, shelves, repeats)
        if not len(again):
            return movies
        if round_ <= NEAR_ROUNDS:
            moved = places[again] + random.laplace(0.0, STEP * WIDER**round_, len(again))
            replaced = _onto_shelf(moved, low[again], high[again])
        else:
            replaced = random.random(len(again))
        movies[again] = _movie_at(replaced, shelves)
    again = _again(user, movies, shelves, repeats)
    for events in np.split(again, np.flatnonzero(np.diff(user[again])) + 1):
        if len(events):
            movies[events] = _unrated(places, movies, user, events, shelves, random)
    return movies


def make_ratings(
    counts: np.ndarray, movies: np.ndarray, shelves: Shelves, random: np.random.Generator
) -> np.ndarray:
    """Stars of each event, float64 (events,), 0.5 to 5.0 by half stars, in the shares of ML-32M."""
    user = np.repeat(np.arange(len(counts)), counts)
    shelf = np.searchsorted(shelves.bounds, shelves.edges[movies], side="right") - 1
    tastes = random.standard_normal((len(counts), len(shelves.bounds)))
    value = (
        np.sqrt(OF_MOVIE) * shelves.liking[movies]
        + np.sqrt(OF_USER) * random.standard_normal(len(counts))[user]
        + np.sqrt(OF_TASTE) * tastes[user, shelf]
        + np.sqrt(1 - OF_MOVIE - OF_USER - OF_TASTE) * random.standard_normal(len(user))
    )
    limits = ndtri(np.cumsum(STARS)[:-1] / STARS.sum())
    return np.asarray((np.searchsorted(limits, value) + 1) / 2)


def _walk(
    user: np.ndarray, timing: Timing, shelves: Shelves, users: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each event is on the scale of cumulated popularity, and the ends of its shelf."""
    events = len(user)
    draws = timing.opens | (random.random(events) < JUMP)
    drawn = np.flatnonzero(draws)
    since = np.cumsum(draws) - 1
    shelf = _shelves_by_taste(user[drawn], timing.progress[drawn], shelves, users, random)[since]
    low, high = shelves.bounds[shelf], shelves.bounds[shelf + 1]
    steps = random.exponential(STEP, events) * np.where(random.random(events) < AHEAD, 1, -1)
    gone = np.cumsum(steps)
    start = low[drawn] + random.random(len(drawn)) * (high - low)[drawn]
    return _onto_shelf(start[since] + gone - gone[drawn][since], low, high), low, high


def _shelves_by_taste(
    user: np.ndarray,
    progress: np.ndarray,
    shelves: Shelves,
    users: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Draw a shelf for each event, by the user's first taste or, more and more with progress, by
    the last."""
    widths = np.diff(shelves.bounds)
    tastes = random.gamma(np.broadcast_to(TASTE * widths, (2, users, len(widths)))) + 1e-12
    shares = np.cumsum(tastes, axis=2)
    shares /= shares[..., -1:]
    row = np.where(random.random(len(user)) < progress, users, 0) + user
    stacked = (shares.reshape(2 * users, -1) + np.arange(2 * users)[:, None]).ravel()
    found = np.searchsorted(stacked, row + random.random(len(user)), side="right") - row * len(
        widths
    )
    return np.clip(found, 0, len(widths) - 1)


def _onto_shelf(places: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Who leaves a shelf at one end comes back at the other."""
    return np.asarray(low + (places - low) % (high - low))


def _movie_at(places: np.ndarray, shelves: Shelves) -> np.ndarray:
    found = np.searchsorted(shelves.edges, places, side="right") - 1
    return np.clip(found, 0, len(shelves.item_ids) - 1)


def _again(
    user: np.ndarray, movies: np.ndarray, shelves: Shelves, repeats: np.ndarray
) -> np.ndarray:
    """The events whose movie the same user has at an earlier event."""
    _, first = np.unique(user * len(shelves.item_ids) + movies, return_index=True)
    again = ~repeats[user]
    again[first] = False
    return np.flatnonzero(again)


def _unrated(
    places: np.ndarray, movies: np.ndarray, user: np.ndarray, events: np.ndarray, shelves: Shelves,
    random: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Other movies for these events of one user, drawn by popularity; their order is that of the
    events' places."""
    first, after = np.searchsorted(user, [user[events[0]], user[events[0]] + 1])
    arrival = random.exponential(size=len(shelves.item_ids)) / np.diff(shelves.edges)
    arrival[movies[first:after]] = np.inf
    chosen = np.sort(np.argpartition(arrival, len(events) - 1)[: len(events)])
    return np.asarray(chosen[np.argsort(np.argsort(places[events], kind="stable"))])
