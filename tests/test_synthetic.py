"""Made-up interactions: what they promise whatever the seed, and how near they are to MovieLens."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dualrec.data.files import data_place
from dualrec.data.movielens import find_shape, read_movielens_items
from dualrec.data.prepare import prepare, prepared
from dualrec.errors import InputError
from dualrec.storage.workspace import Workspace
from scripts.synthetic import statistics
from scripts.synthetic.activity import MINIMUM, Shape, cut_chunks, make_counts
from scripts.synthetic.catalog import Catalog, make_catalog
from scripts.synthetic.histories import STARS
from scripts.synthetic.ratings import make_rows, plan, to_csv
from scripts.synthetic.timing import make_timing
from scripts.synthetic.titles import make_titles
from scripts.synthetic.writing import write_dataset

ROOT = Path(__file__).parent.parent
SMALL = Shape(ratings=9_000, users=150, movies=400)
ML_32M = Shape(ratings=32_000_204, users=200_948, movies=87_585)
AS_1M = Shape(ratings=200_042, users=1_208, movies=3_706)  # a fifth of the users of MovieLens 1M


def rows_of(shape: Shape, seed: int) -> tuple[Catalog, pl.DataFrame]:
    catalog, chunks = plan(shape, seed)
    return catalog, pl.concat([make_rows(chunk, catalog.shelves, seed) for chunk in chunks])


@pytest.fixture(scope="module")
def as_1m() -> tuple[Catalog, pl.DataFrame]:
    catalog, rows = rows_of(AS_1M, seed=0)
    ratings = rows.rename({"userId": "user_id", "movieId": "item_id"})
    return catalog, ratings.sort("user_id", "timestamp", maintain_order=True)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "shape",
    [SMALL, Shape(400, 20, 20), Shape(399, 19, 21), Shape(20, 1, 20), Shape(5_000, 60, 100)],
)
def test_every_number_asked_for_is_met_exactly(shape: Shape, seed: int) -> None:
    catalog, rows = rows_of(shape, seed)
    counts = rows.group_by("userId").len()["len"]
    assert len(rows) == shape.ratings
    assert rows["userId"].unique(maintain_order=True).to_list() == list(range(1, shape.users + 1))
    assert counts.min() >= MINIMUM
    assert len(set(catalog.shelves.item_ids.tolist())) == shape.movies == len(catalog.titles)
    assert set(rows["movieId"].to_list()) <= set(catalog.shelves.item_ids.tolist())


@pytest.mark.parametrize("shape", [SMALL, Shape(400, 20, 20), Shape(5_000, 60, 100)])
def test_nobody_rates_a_movie_twice(shape: Shape) -> None:
    """Users who rate every movie there is are among them."""
    _, rows = rows_of(shape, seed=0)
    assert rows.select("userId", "movieId").is_unique().all()


def test_the_heaviest_user_may_have_more_ratings_than_there_are_movies() -> None:
    shape = Shape(ratings=18_000, users=50, movies=100, heaviest=15_000)
    _, rows = rows_of(shape, seed=0)
    counts = (
        rows.group_by("userId")
        .agg(pl.len(), pl.col("movieId").n_unique().alias("movies"))
        .sort("len")
    )
    assert counts["len"].to_list()[-1] == 15_000
    assert counts["len"].sum() == 18_000
    others = counts.head(49)
    assert others["len"].to_list() == others["movies"].to_list()


def test_a_seed_decides_every_byte() -> None:
    first, again, other = (to_csv(rows_of(SMALL, seed)[1]) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_chunk_does_not_depend_on_the_others() -> None:
    catalog, chunks = plan(SMALL, seed=0)
    assert len(chunks) > 1
    _, rows = rows_of(SMALL, seed=0)
    alone = make_rows(chunks[-1], catalog.shelves, seed=0)
    assert alone.equals(rows.filter(pl.col("userId") >= chunks[-1].first_user))


def test_chunks_hold_every_user_once_and_none_is_much_too_large(
    random: np.random.Generator,
) -> None:
    counts = make_counts(ML_32M, random)
    chunks = cut_chunks(counts)
    assert [first for first, _ in chunks] == [0, *(after for _, after in chunks[:-1])]
    assert chunks[-1][1] == len(counts)
    assert max(int(counts[first:after].sum()) for first, after in chunks) <= 250_000 + counts.max()


@pytest.mark.parametrize(
    ("shape", "option"),
    [
        (Shape(0, 1, 20), "--ratings"),
        (Shape(100, 2, 19), "--movies 19"),
        (Shape(100, 6, 50), "--ratings 120 or more"),
        (Shape(101, 2, 50), "fewer --ratings"),
        (Shape(100, 2, 50, heaviest=19), "--heaviest 19"),
        (Shape(100, 2, 50, heaviest=90), "smaller --heaviest"),
    ],
)
def test_numbers_that_cannot_be_met_are_refused_by_name(
    shape: Shape, option: str, random: np.random.Generator
) -> None:
    with pytest.raises(InputError, match=option):
        make_counts(shape, random)


def test_times_of_a_user_go_forward_with_many_in_one_second(random: np.random.Generator) -> None:
    counts = np.full(300, 100)
    stamps = make_timing(counts, random).timestamps.reshape(300, 100)
    steps = np.diff(stamps, axis=1)
    assert (steps >= 0).all()
    assert 0.35 < (steps == 0).mean() < 0.50  # 0.43 in MovieLens 1M
    assert stamps.min() >= 789_652_004 and stamps.max() <= 1_697_164_147  # ML-32M's first and last


def test_activity_is_that_of_ml_32m(random: np.random.Generator) -> None:
    """Published: quartiles 36, 73, 167, then 364 at 90 % and 1,290 at 99 %; 12.6 % of ratings by
    the top 1 %, 47.2 % by the top 10 %."""
    counts = make_counts(ML_32M, random)
    assert np.quantile(counts, [0.25, 0.5, 0.75, 0.9, 0.99]) == pytest.approx(
        [36, 73, 167, 364, 1290], rel=0.2
    )
    assert statistics.top_share(counts, 0.01) == pytest.approx(0.126, abs=0.03)
    assert statistics.top_share(counts, 0.10) == pytest.approx(0.472, abs=0.03)
    assert counts.max() > 10_000


def test_popularity_is_skewed_as_in_movielens_1m(as_1m: tuple[Catalog, pl.DataFrame]) -> None:
    """Published: Gini coefficient 0.634, the most popular movie rated by 57 % of the users."""
    found = statistics.popularity(as_1m[1])
    assert found["Gini coefficient of the movies"] == pytest.approx(0.634, abs=0.06)
    assert found["users who rated the most popular movie"] == pytest.approx(0.567, abs=0.12)


def test_stars_are_those_of_ml_32m(as_1m: tuple[Catalog, pl.DataFrame]) -> None:
    shares = np.bincount((as_1m[1]["rating"].to_numpy() * 2).astype(int), minlength=11)[1:] / len(
        as_1m[1]
    )
    assert (
        np.abs(shares - STARS / STARS.sum()).sum() < 0.15
    )  # of 2 at most; equal shares would be 0.59 away
    assert shares.argmax() == STARS.argmax()
    assert as_1m[1]["rating"].mean() == pytest.approx(3.54, abs=0.1)


def genres_of(catalog: Catalog) -> dict[int, frozenset[str]]:
    return {
        int(item): frozenset(text.split("|"))
        for item, text in zip(catalog.shelves.item_ids, catalog.genres, strict=True)
    }


def test_the_next_movie_is_like_the_last(as_1m: tuple[Catalog, pl.DataFrame]) -> None:
    """In MovieLens 1M the next movie shares a genre in 72 % of all cases, any two movies of a user
    in 48 %."""
    catalog, ratings = as_1m
    found = statistics.sequence(ratings, genres_of(catalog), np.random.default_rng(0))
    likeness = found["next movie shares a genre"] - found["any two movies of a user share one"]
    assert likeness == pytest.approx(0.24, abs=0.08)
    mixed = ratings.sample(fraction=1.0, shuffle=True, seed=0).sort("user_id", maintain_order=True)
    found = statistics.sequence(mixed, genres_of(catalog), np.random.default_rng(0))
    assert (
        abs(found["next movie shares a genre"] - found["any two movies of a user share one"]) < 0.01
    )


def test_taste_drifts(as_1m: tuple[Catalog, pl.DataFrame]) -> None:
    """The main genres of a user's first events are nearer to those of the next ones than to those
    of the last.

    Without drift the distances differ by less than 0.1.
    """
    catalog, ratings = as_1m
    main = dict(
        zip(catalog.shelves.item_ids.tolist(), shelf_numbers(catalog).tolist(), strict=True)
    )
    further = []
    for (_,), events in ratings.group_by("user_id", maintain_order=True):
        sessions = (events["timestamp"].diff() > statistics.SESSION_BREAK_S).sum() + 1
        if 100 <= len(events) <= 800 and sessions >= 5:
            genres = np.array([main[item] for item in events["item_id"].to_list()])
            first, second, *_, last = (
                np.bincount(part, minlength=20) / len(part) for part in np.array_split(genres, 6)
            )
            further.append(np.abs(first - last).sum() - np.abs(first - second).sum())
    assert len(further) > 100
    assert np.mean(further) > 0.2


def shelf_numbers(catalog: Catalog) -> np.ndarray:
    """The number of each movie's main genre."""
    return np.searchsorted(catalog.shelves.bounds, catalog.shelves.edges[:-1], side="right") - 1


def test_titles_are_unique_and_end_with_their_year(random: np.random.Generator) -> None:
    years = random.integers(1990, 1993, 20_000)
    titles = make_titles(years, random)
    assert len(set(titles)) == len(titles)
    dated = [title.endswith(f"({year})") for title, year in zip(titles, years, strict=True)]
    assert 0.98 < np.mean(dated) < 1.0


def test_shelves_cover_the_scale_of_popularity_in_order(random: np.random.Generator) -> None:
    shelves = make_catalog(500, random).shelves
    assert (np.diff(shelves.edges) > 0).all()
    assert shelves.edges[0] == 0 and shelves.edges[-1] == 1
    assert set(shelves.bounds.tolist()) <= set(shelves.edges.tolist())


def test_statistics_of_numbers_known_by_hand() -> None:
    assert statistics.gini(np.array([5, 5, 5, 5])) == pytest.approx(0.0)
    assert statistics.gini(np.array([1, 3])) == pytest.approx(0.25)  # (3 - 1) / (2 * 2 * mean 2)
    assert statistics.top_share(np.array([6, 1, 1, 2]), 0.25) == pytest.approx(0.6)


@pytest.mark.ray
def test_a_written_data_set_is_the_same_by_any_number_of_tasks_and_can_be_prepared(
    tmp_path: Path, ray_cluster: None, settings_for
) -> None:
    said: list[str] = []
    one, many = tmp_path / "one", tmp_path / "many"
    for folder, at_once in ((one, 1), (many, 4)):
        assert write_dataset(SMALL, 0, folder, at_once, said.append).rows == SMALL.ratings
    for name in ("ratings.csv", "movies.csv"):
        assert (one / name).read_bytes() == (many / name).read_bytes()
    with (one / "ratings.csv").open() as stream:
        header, *lines = csv.reader(stream)
    assert header == ["userId", "movieId", "rating", "timestamp"]
    assert len(lines) == SMALL.ratings
    shape, _, items = find_shape(data_place(str(one), "cache"))
    assert len(read_movielens_items(shape, Path(items.path))) == SMALL.movies
    assert not list(tmp_path.glob("*.partial"))
    settings = settings_for(f"data.source={one}")
    prepare(settings)
    workspace = Workspace.of(settings)
    assert prepared(workspace, settings).read_histories(workspace, "all").count() == SMALL.users
    with pytest.raises(InputError, match="is there already"):
        write_dataset(SMALL, 0, one, 1, said.append)


@pytest.mark.ray
def test_a_run_that_breaks_off_leaves_nothing(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        path.write_bytes(b"userId")
        raise OSError("No space left on device")

    monkeypatch.setattr("scripts.synthetic.writing._write_ratings", full)
    with pytest.raises(OSError, match="No space left"):
        write_dataset(SMALL, 0, tmp_path / "made", 1, lambda line: None)
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_is_wrong_before_it_starts_anything(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "scripts/synthesize.py",
        "--ratings",
        "100",
        "--users",
        "10",
        "--out",
        str(tmp_path / "made"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: 100 ratings are left for 10 users")
    assert not list(tmp_path.iterdir())
