from pathlib import Path

import pytest

from dualrec.data.files import data_place
from dualrec.data.movielens import GENRES, find_shape, read_movielens_items
from dualrec.errors import InputError


def _items(folder: Path) -> list[dict[str, object]]:
    shape, _, items = find_shape(data_place(str(folder), "cache"))
    return read_movielens_items(shape, Path(items.path)).to_pylist()


def test_the_100k_shape_in_latin_1(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t1\t5\t100\n")
    flags = "|".join("1" if genre in ("Comedy", "Drama") else "0" for genre in ("unknown", *GENRES))
    (tmp_path / "u.item").write_text(
        f"1|Amélie (2001)|01-Jan-2001||http://x|{flags}\n", encoding="latin-1"
    )
    assert _items(tmp_path) == [
        {"item_id": 1, "title": "Amélie (2001)", "year": 2001, "genres": ["Comedy", "Drama"]}
    ]


def test_the_typed_shape(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1\t5\t100\n"
    )
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    (tmp_path / "x.item").write_text(
        header + "1\tToy Story\t1995\tAnimation Children's Comedy\n2\tunknown\t\tunknown\n"
    )
    assert _items(tmp_path) == [
        {
            "item_id": 1,
            "title": "Toy Story (1995)",
            "year": 1995,
            "genres": ["Animation", "Children's", "Comedy"],
        },
        {"item_id": 2, "title": "unknown", "year": None, "genres": []},
    ]


def test_the_double_colon_shape(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::1::5::100\n")
    (tmp_path / "movies.dat").write_text("1::Heat (1995)::Action|Crime\n")
    assert _items(tmp_path) == [
        {"item_id": 1, "title": "Heat (1995)", "year": 1995, "genres": ["Action", "Crime"]}
    ]


def test_the_csv_shape_with_quotes_and_without_genres(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,5,100\n")
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n1,"American President, The (1995)",Children|IMAX\n2,Babylon 5,(no genres listed)\n'
    )
    assert _items(tmp_path) == [
        {
            "item_id": 1,
            "title": "American President, The (1995)",
            "year": 1995,
            "genres": ["Children's", "IMAX"],
        },
        {"item_id": 2, "title": "Babylon 5", "year": None, "genres": []},
    ]


@pytest.mark.parametrize(
    ("movies", "said"),
    [
        ("1::Heat (1995)::Action|Telenovela\n", "movies.dat, line 1: unknown genre 'Telenovela'"),
        ("1::Heat (1995)::Action\n1::Ran (1985)::War\n", "item 1 is described twice"),
        ("x::Heat (1995)::Action\n", "line 1: the item id should be a whole number, found 'x'"),
        ("1|Heat (1995)|Action\n", "line 1: expected 3 fields separated by '::', found 1"),
    ],
)
def test_a_bad_item_line_is_named(tmp_path: Path, movies: str, said: str) -> None:
    (tmp_path / "ratings.dat").write_text("1::1::5::100\n")
    (tmp_path / "movies.dat").write_text(movies)
    with pytest.raises(InputError, match=said.replace("|", r"\|")):
        _items(tmp_path)


def test_half_a_data_set_and_no_data_set_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no MovieLens folder"):
        find_shape(data_place(str(tmp_path), "cache"))
    (tmp_path / "ratings.dat").write_text("1::1::5::100\n")
    with pytest.raises(InputError, match=r"holds ratings.dat but no movies.dat"):
        find_shape(data_place(str(tmp_path), "cache"))
