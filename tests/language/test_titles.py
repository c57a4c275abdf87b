import pyarrow as pa
import pytest

from dualrec.data.titles import without_year
from dualrec.language.titles import (
    TitleIndex,
    aliases,
    display_title,
    filed_title,
    parse_titles,
    title_key,
)


@pytest.mark.parametrize(
    ("published", "shown"),
    [
        ("Bug's Life, A (1998)", "A Bug's Life (1998)"),
        ("Seven (Se7en) (1995)", "Seven (Se7en) (1995)"),
        (
            "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
            "The City of Lost Children (La Cité des enfants perdus) (1995)",
        ),
        ("Avventura, L' (1960)", "L'Avventura (1960)"),
        ("Good, The Bad and The Ugly, The (1966)", "The Good, The Bad and The Ugly (1966)"),
        ("Hello, Dolly! (1969)", "Hello, Dolly! (1969)"),
        ("unknown", "unknown"),
    ],
)
def test_titles_are_shown_as_people_write_them(published: str, shown: str) -> None:
    assert display_title(published) == shown


@pytest.mark.parametrize(
    ("published", "filed"),
    [
        ("Bug's Life, A (1998)", "Bug's Life, A (1998)"),
        ("The Godfather (1972)", "Godfather, The (1972)"),
        ("An American in Paris (1951)", "American in Paris, An (1951)"),
        (
            "The City of Lost Children (La Cité des enfants perdus) (1995)",
            "City of Lost Children, The (La Cité des enfants perdus) (1995)",
        ),
        ("Theremin (1993)", "Theremin (1993)"),
        ("A (1990)", "A (1990)"),
        ("unknown", "unknown"),
    ],
)
def test_titles_are_read_and_written_as_a_library_files_them(published: str, filed: str) -> None:
    assert filed_title(published) == filed
    assert title_key(without_year(filed)) == title_key(without_year(published))


@pytest.mark.parametrize(
    ("text", "cut_off", "titles"),
    [
        (
            "Heat (1995)\nRan (1985)\nJaws (1975)",
            False,
            ["Heat (1995)", "Ran (1985)", "Jaws (1975)"],
        ),
        (
            '1. Heat (1995)\n2) "Ran (1985)"\n- *Jaws (1975)* - a shark',
            False,
            ["Heat (1995)", "Ran (1985)", "Jaws (1975)"],
        ),
        ("Heat (1995)\nRan (19", True, ["Heat (1995)"]),
        ("Heat (1995)\nRan (1985)", True, ["Heat (1995)", "Ran (1985)"]),
        ("<think>Heat (1995)\nno</think>\nRan (1985)", False, ["Ran (1985)"]),
        ("<think>Heat (1995)", False, []),
        ("Heat (1995)? No.\n</think>\n\nRan (1985)", False, ["Ran (1985)"]),
        (
            "12 Angry Men (1957)\n101 Dalmatians (1996)",
            False,
            ["12 Angry Men (1957)", "101 Dalmatians (1996)"],
        ),
        ("", False, []),
    ],
)
def test_answers_become_titles(text: str, cut_off: bool, titles: list[str]) -> None:
    assert parse_titles(text, 3, cut_off) == titles


def test_no_more_titles_than_asked_for() -> None:
    assert len(parse_titles("A (1990)\nB (1991)\nC (1992)\nD (1993)", 3)) == 3


@pytest.mark.parametrize(
    ("written", "item_id", "match"),
    [
        ("A Bug's Life (1998)", 2, "exact"),
        ("Bug's Life, A (1998)", 2, "exact"),
        ("bugs life, a (1998)", 2, "exact"),
        ("Se7en (1995)", 4, "exact"),
        ("Seven (1995)", 4, "exact"),
        ("Sabrina (1954)", 5, "exact"),
        ("Sabrina (1995)", 6, "exact"),
        ("Heat", 3, "exact"),
        ("Heat (1996)", 3, "exact"),
        ("Toy Storry (1995)", 1, "fuzzy"),
        ("Heat (1972)", None, "none"),
        ("The Godfather (1972)", None, "none"),
    ],
)
def test_written_titles_find_their_item(
    catalog: pa.Table, written: str, item_id: int | None, match: str
) -> None:
    resolved = TitleIndex(catalog, 90).resolve(written)
    assert (resolved.item_id, resolved.match) == (item_id, match)


def test_a_title_of_two_years_without_a_year_takes_the_nearest_spelling(catalog: pa.Table) -> None:
    assert TitleIndex(catalog, 90).resolve("Sabrina").item_id in (5, 6)


def test_an_item_of_number_zero_is_an_item_like_others(catalog: pa.Table) -> None:
    numbered = catalog.set_column(0, "item_id", pa.array([1, 2, 3, 4, 0, 5]))
    resolved = TitleIndex(numbered, 90).resolve("Sabrina (1954)")
    assert (resolved.item_id, resolved.match) == (0, "exact")


def test_every_published_title_finds_itself(catalog: pa.Table) -> None:
    index = TitleIndex(catalog, 90)
    for row in catalog.to_pylist():
        assert index.resolve(row["title"]).item_id == row["item_id"]
        for written in (display_title(row["title"]), filed_title(row["title"])):
            assert index.resolve(written).item_id == row["item_id"]


def test_keys_ignore_case_accents_and_punctuation() -> None:
    assert title_key("Léon & Co.") == title_key("leon and co")
    assert title_key("七人の侍") == "七人の侍"


def test_other_names_are_aliases() -> None:
    assert aliases("Léon (a.k.a. Professional, The) (1994)") >= {"leon", "the professional"}
