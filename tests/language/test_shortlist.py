"""Shortlists, and the grammar that holds an answer to one: tried on a real engine of structured
outputs."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualrec.config.settings import ShortlistSettings
from dualrec.language.shortlist import (
    MAX_ANSWER_TITLES,
    Shortlister,
    shortlist_grammar,
    top_indices,
)
from dualrec.language.titles import TitleIndex
from dualrec.storage.schemas import CATALOG


def _shortlister(catalog: pa.Table, **settings: int) -> Shortlister:
    return Shortlister(
        catalog, np.eye(len(catalog), dtype=np.float32), ShortlistSettings(**settings)
    )


def test_the_sequence_models_best_come_first_as_they_are_filed(catalog: pa.Table) -> None:
    shortlist = _shortlister(catalog, sequence_items=2, neighbours=0)([1], [3, 2, 4])
    assert shortlist == ["Heat (1995)", "Bug's Life, A (1998)"]


def test_neighbours_of_the_history_join_it(catalog: pa.Table) -> None:
    embeddings = np.eye(6, dtype=np.float32)
    embeddings[4] = embeddings[5]  # Sabrina 1954 and 1995
    shortlister = Shortlister(
        catalog, embeddings, ShortlistSettings(sequence_items=1, neighbours=1)
    )
    assert shortlister([6], [3]) == ["Heat (1995)", "Sabrina (1954)"]
    assert shortlister([], [3]) == ["Heat (1995)"]


def test_no_neighbour_was_watched_or_is_on_the_list_already(catalog: pa.Table) -> None:
    alike = Shortlister(
        catalog, np.ones((6, 1), np.float32), ShortlistSettings(sequence_items=1, neighbours=5)
    )
    assert alike([1, 4, 99], [3]) == [
        "Heat (1995)",
        "Bug's Life, A (1998)",
        "Sabrina (1954)",
        "Sabrina (1995)",
    ]


@given(
    st.lists(st.sampled_from([-np.inf, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30),
    st.integers(1, 35),
)
def test_the_best_places_are_those_of_sorting_all(values: list[float], count: int) -> None:
    array = np.array(values, np.float32)
    assert top_indices(array, count).tolist() == np.argsort(-array, kind="stable")[:count].tolist()


def test_every_title_resolves_to_an_unwatched_item_even_where_titles_repeat() -> None:
    rows = [
        (1, "Chasing Amy (1997)", 9),
        (2, "Chasing Amy (1997)", 3),
        (3, "Bug's Life, A (1998)", 1),
        (4, "x" * 200 + " (1990)", 1),
    ]
    catalog = pa.Table.from_pylist(
        [
            {"item_id": i, "title": t, "year": int(t[-5:-1]), "genres": [], "popularity": p}
            for i, t, p in rows
        ],
        schema=CATALOG,
    )
    index = TitleIndex(catalog, 100)
    assert _shortlister(catalog)([1], [2, 3, 4]) == ["Bug's Life, A (1998)"]
    titles = _shortlister(catalog)([], [1, 2, 3, 4])
    assert [index.resolve(title).item_id for title in titles] == [1, 3]


def _written(grammar: str, seed: int) -> str:
    """An answer of a model that picks among the allowed bytes at random."""
    import llguidance

    random = np.random.default_rng(seed)
    matcher = llguidance.LLMatcher(
        llguidance.LLTokenizer("byte"), llguidance.grammar_from("grammar", grammar)
    )
    assert not matcher.get_error()
    written = bytearray()
    while not matcher.is_stopped():
        mask = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        token = int(random.choice(np.flatnonzero(mask)))
        matcher.consume_token(token)
        written += bytes([token]) if token < 256 else b""
    return written.decode()


@pytest.mark.parametrize("count", [1, 3, MAX_ANSWER_TITLES])
def test_an_answer_holds_different_titles_of_the_list_one_a_line(count: int) -> None:
    titles = [
        'Say "Hi" (1990)',
        "Amélie (2001)",
        "1984 (1984)",
        "Se7en (1995)",
        "A | B (1999)",
        "T1 (2000)",
        "\\n (2001)",
    ]
    answers = [_written(shortlist_grammar(titles, count), seed).split("\n") for seed in range(40)]
    for answer in answers:
        assert len(answer) == len(set(answer)) == count
        assert set(answer) <= set(titles)
    assert {title for answer in answers for title in answer} == set(titles)


def test_a_short_list_gives_a_short_answer() -> None:
    assert sorted(_written(shortlist_grammar(["A (1990)", "B (1991)"], 3), 0).split("\n")) == [
        "A (1990)",
        "B (1991)",
    ]


def test_a_title_that_begins_another_can_be_written() -> None:
    titles = ["Heat", "Heat 2", "Heat 2 again"]
    assert {
        tuple(sorted(_written(shortlist_grammar(titles, 3), seed).split("\n"))) for seed in range(9)
    } == {tuple(titles)}
