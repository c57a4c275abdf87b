"""The movies: how popular each is, its genres, its year, its id and how well it is liked.

Movies stand on shelves, one for each main genre, in the order of their years. Histories walk along
the shelves, so that neighbours there are what people watch one after the other.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .titles import make_titles

# Weight of the movie of rank r: Zipf's law with a flattened head and a cut-off, and a little for
# every movie: (r + HEAD) ** -1 * (1 + r / BEND) ** -TAIL, then FLOOR. Set for ML-32M; a smaller
# catalog is the head of a larger one.
HEAD, BEND, TAIL = 25.0, 2500.0, 1.65
FLOOR = 0.25 / 32_000_204  # of all ratings
SPREAD_OUT = 0.85  # ratings go as this power of popularity, since nobody rates a favourite twice
LAST_YEAR, FIRST_YEAR = 2023, 1902
IDS_PER_MOVIE = 3.34  # ML-32M: 87,585 movies, ids to about 292,700
NO_GENRE_SHARE, NO_GENRE_FROM = 0.085, 3000  # only movies after this rank have no genre

# The share of movies whose main genre it is, and the genres that stand beside it, likeliest first.
_GENRES = {
    "Drama": (0.270, "Romance Comedy War Crime Thriller"),
    "Comedy": (0.220, "Romance Drama Children Musical Crime"),
    "Action": (0.110, "Thriller Adventure Sci-Fi Crime War"),
    "Horror": (0.075, "Thriller Sci-Fi Mystery Comedy"),
    "Thriller": (0.065, "Crime Mystery Drama Action"),
    "Documentary": (0.065, "Musical War IMAX"),
    "Crime": (0.040, "Drama Thriller Film-Noir Action"),
    "Adventure": (0.032, "Children Fantasy Action IMAX"),
    "Sci-Fi": (0.030, "Thriller Adventure Action Horror"),
    "Romance": (0.025, "Drama Comedy Musical"),
    "Animation": (0.022, "Children Comedy Adventure Musical"),
    "Western": (0.012, "Action Adventure Drama"),
    "Fantasy": (0.010, "Adventure Children Animation"),
    "Mystery": (0.008, "Thriller Crime Horror"),
    "Musical": (0.006, "Comedy Romance Drama"),
    "Film-Noir": (0.004, "Crime Mystery Drama"),
    "War": (0.003, "Drama Action"),
    "Children": (0.003, "Comedy Animation Fantasy"),
}
_COMPANIONS = (
    0.36,
    0.36,
    0.20,
    0.08,
)  # how many genres stand beside the main one: none, one, two, three
_LIKELIER = 0.6  # how much less likely each companion is than the one before it

NO_GENRE = "(no genres listed)"


@dataclass(frozen=True)
class Shelves:
    """What histories are drawn from: N movies in the order of main genre, then year.

    Attributes:
        item_ids: int64 (N,).
        edges: float64 (N + 1,), the cumulated popularity, from 0 to 1: movie i lies in [edges[i],
            edges[i + 1]).
        bounds: float64 (shelves + 1,), where each shelf begins and ends on the same scale.
        liking: float64 (N,), how well a movie is rated: mean 0 and variance 1 over the ratings.
    """

    item_ids: np.ndarray
    edges: np.ndarray
    bounds: np.ndarray
    liking: np.ndarray


@dataclass(frozen=True)
class Catalog:
    """The shelves, and what the item file says of each of their movies: title, and genres joined by
    `|`."""

    shelves: Shelves
    titles: list[str]
    genres: list[str]


def make_catalog(movies: int, random: np.random.Generator) -> Catalog:
    """A catalog of so many movies."""
    rank = np.arange(movies) + 1
    popularity = 1 / (rank + HEAD) / (1 + rank / BEND) ** TAIL
    popularity = popularity / popularity.sum() + FLOOR
    popularity /= popularity.sum()
    main, years = _main_genres(movies, random), _years(movies, random)
    order = np.lexsort((random.random(movies), years, main))
    edges = np.concatenate([[0.0], np.cumsum(popularity[order])])
    edges[-1] = 1.0
    first = np.searchsorted(main[order], np.arange(len(_GENRES) + 2))
    shelves = Shelves(
        _item_ids(years, random)[order],
        edges,
        edges[np.unique(first)],
        _liking(popularity, random)[order],
    )
    return Catalog(shelves, make_titles(years[order], random), _genre_texts(main[order], random))


def write_items(catalog: Catalog, path: Path) -> None:
    """Write `movies.csv` in the order of the ids, as MovieLens does."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("movieId", "title", "genres"))
        ids = catalog.shelves.item_ids
        writer.writerows(
            (int(ids[row]), catalog.titles[row], catalog.genres[row]) for row in np.argsort(ids)
        )


def _main_genres(movies: int, random: np.random.Generator) -> np.ndarray:
    """The number of each movie's main genre; `len(_GENRES)` stands for none."""
    shares = np.array([share for share, _ in _GENRES.values()])
    main = random.choice(len(shares), movies, p=shares / shares.sum())
    bare = (random.random(movies) < NO_GENRE_SHARE) & (np.arange(movies) >= NO_GENRE_FROM)
    return np.where(bare, len(shares), main)


def _years(movies: int, random: np.random.Generator) -> np.ndarray:
    return np.maximum(LAST_YEAR - random.gamma(1.3, 19.0, movies).astype(int), FIRST_YEAR)


def _item_ids(years: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Ids in the order in which movies came to the site, closer at first: the popular ones when
    they were new."""
    movies = len(years)
    added = np.maximum(years, 1995) + random.exponential(1 + 12 * np.arange(movies) / 87585)
    gaps = 1 + random.poisson(np.linspace(0.1, 2 * IDS_PER_MOVIE - 2.1, movies))
    ids = np.empty(movies, np.int64)
    ids[np.argsort(added, kind="stable")] = np.cumsum(gaps)
    return ids


def _liking(popularity: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Popular movies are liked better, with wide exceptions."""
    liking = 0.3 * np.log(popularity) + random.standard_normal(len(popularity))
    weights = popularity**SPREAD_OUT
    liking -= np.average(liking, weights=weights)
    return np.asarray(liking / np.sqrt(np.average(liking**2, weights=weights)))


def _genre_texts(main: np.ndarray, random: np.random.Generator) -> list[str]:
    """Main genre and companions of each movie, in alphabetical order."""
    names = list(_GENRES)
    texts = np.full(len(main), NO_GENRE, object)
    for number, (_, beside) in enumerate(_GENRES.values()):
        rows = np.flatnonzero(main == number)
        companions = np.array(beside.split())
        likely = np.log(_LIKELIER) * np.arange(len(companions)) + random.gumbel(
            size=(len(rows), len(companions))
        )
        chosen = companions[np.argsort(-likely, axis=1)]
        counts = random.choice(len(_COMPANIONS), len(rows), p=_COMPANIONS)
        texts[rows] = [
            "|".join(sorted([names[number], *genres[:count]]))
            for genres, count in zip(chosen.tolist(), counts.tolist(), strict=True)
        ]
    return list(texts)
