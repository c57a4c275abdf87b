"""Closest spellings: the same as comparing with every title by rapidfuzz, whatever the titles and
the threshold."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rapidfuzz import fuzz, process

from dualrec.language.spelling import PIECE, Spellings, most_changed

TITLES = st.text("ab c", min_size=1, max_size=24)
YEARS = st.sampled_from([None, 1994, 1995, 1996])
CATALOGS = st.lists(st.tuples(YEARS, TITLES), max_size=25)
EDITS = st.lists(st.tuples(st.integers(0, 24), st.sampled_from(["", "a", "b", "xy"])), max_size=4)
THRESHOLDS = st.one_of(st.sampled_from([0.0, 50.0, 80.0, 90.0, 100.0]), st.floats(0, 100))


def _values(catalog: list[tuple[int | None, str]]) -> dict[int | None, dict[str, int]]:
    values: dict[int | None, dict[str, int]] = {}
    for value, (year, title) in enumerate(catalog):
        values.setdefault(year, {}).setdefault(title, value)
    return values


def _by_comparing_all(
    values: dict[int | None, dict[str, int]],
    title: str,
    years: Sequence[int | None],
    threshold: float,
) -> int | None:
    pairs = [pair for year in years for pair in values.get(year, {}).items()]
    found = process.extractOne(
        title, [known for known, _ in pairs], scorer=fuzz.ratio, score_cutoff=threshold
    )
    return pairs[found[2]][1] if found else None


def _edited(title: str, edits: list[tuple[int, str]]) -> str:
    """The title with characters replaced by others, or by none."""
    for place, text in edits:
        title = title[:place] + text + title[place + 1 :]
    return title


@given(CATALOGS, st.integers(0, 24), EDITS, THRESHOLDS, st.lists(YEARS, unique=True))
@example([(None, "abab"), (1995, "abab")], 0, [], 90.0, [1995, None])
@example([(None, "abab")], 0, [], 1e-310, [None])  # 1 / it is infinite
def test_the_closest_is_that_of_comparing_all(
    catalog: list[tuple[int | None, str]],
    near: int,
    edits: list[tuple[int, str]],
    threshold: float,
    years: list[int | None],
) -> None:
    title = _edited(catalog[near % len(catalog)][1] if catalog else "abc", edits)
    values = _values(catalog)
    spellings = Spellings(values, threshold)
    assert spellings.closest(title, years) == _by_comparing_all(values, title, years, threshold)
    assert spellings.closest(title) == _by_comparing_all(values, title, list(values), threshold)


@given(st.text("abcdefgh", min_size=1, max_size=30), EDITS, st.floats(1, 100))
def test_no_close_spelling_lacks_more_pieces_than_reckoned(
    title: str, edits: list[tuple[int, str]], threshold: float
) -> None:
    other = _edited(title, edits)
    if fuzz.ratio(title, other) >= threshold:
        missing = _pieces(title) - _pieces(other)
        assert len(missing) <= most_changed(len(title), threshold)


def _pieces(title: str) -> set[str]:
    """All runs of PIECE characters of a title, with an edge before and after it."""
    padded = "\0" * (PIECE - 1) + title + "\0" * (PIECE - 1)
    return {padded[start : start + PIECE] for start in range(len(padded) - PIECE + 1)}


@pytest.mark.parametrize(("length", "changed"), [(4, 0), (5, 2), (10, 5), (20, 10)])
def test_few_pieces_of_a_title_may_be_missing_at_the_default_threshold(
    length: int, changed: int
) -> None:
    assert most_changed(length, 90) == changed


def test_few_titles_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    first = process.extractOne

    def counted(title: str, titles: list[str], **options: object) -> object:
        compared.append(len(titles))
        return first(title, titles, **options)

    names = [f"the {one} of the {other}" for one in _WORDS for other in _WORDS]
    spellings = Spellings({1995: {name: value for value, name in enumerate(names)}}, 90)
    monkeypatch.setattr(process, "extractOne", counted)
    assert spellings.closest("the ladder of the gaint") == names.index("the ladder of the giant")
    assert spellings.closest("the chronicles of the harbor") is None
    assert max(compared) < len(names) / 4


_WORDS = [
    "ladder",
    "giant",
    "window",
    "queen",
    "harbor",
    "mirror",
    "forest",
    "devil",
    "summer",
    "bridge",
    "pirate",
    "moon",
]
