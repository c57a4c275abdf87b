"""Tying titles to items: generated titles against a large catalog, and the same by comparing each
with every title.

Both sides look the words and the year up first, and take the closest spelling where they are not
found: ours among the titles that share rare pieces with it, the rival by
`rapidfuzz.process.extractOne` over all titles of the neighbouring years, or of all years where none
is written, with each year's list made once. The rival takes a sample of the titles, from which its
time for all is reckoned. Catalog and titles are made up of words, some common and most rare, and
the words of syllables.

    python scripts/bench_titles.py --titles 100000 --items 87585
"""

import argparse
import resource
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from rapidfuzz import fuzz, process
from rich.console import Console

from dualrec.config.settings import RerankSettings
from dualrec.language.titles import Resolved, TitleIndex, filed_title

ONSETS = [
    "",
    "b",
    "br",
    "c",
    "d",
    "f",
    "g",
    "h",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "sh",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
]
RHYMES = [
    "a",
    "al",
    "an",
    "ar",
    "e",
    "el",
    "en",
    "er",
    "es",
    "i",
    "igh",
    "in",
    "ing",
    "o",
    "on",
    "or",
    "u",
    "un",
]
WORDS = 10_000
# What is written, and its share of the titles. The last two name no movie, and are the slowest to
# look for.
KINDS = {"as filed": 0.4, "mistyped": 0.2, "a year late": 0.1, "no year": 0.1, "invented": 0.15,
         "invented, no year": 0.05}  # fmt: skip


def words(random: np.random.Generator) -> list[str]:
    """Words of one to three syllables, all different."""
    made: dict[str, None] = {}
    while len(made) < WORDS:
        size = random.choice([1, 2, 3], p=[0.2, 0.5, 0.3])
        pairs = zip(random.choice(ONSETS, size), random.choice(RHYMES, size), strict=True)
        made["".join(onset + rhyme for onset, rhyme in pairs).capitalize()] = None
    return list(made)


def names(random: np.random.Generator, vocabulary: list[str], count: int) -> list[str]:
    """Titles of one to six words without years, of some 17 characters like MovieLens'; a fifth have
    an article."""
    shares = 1 / np.arange(5, len(vocabulary) + 5) ** 0.9
    sizes = random.choice(np.arange(1, 7), count, p=[0.15, 0.3, 0.25, 0.15, 0.1, 0.05])
    drawn = iter(random.choice(vocabulary, sizes.sum(), p=shares / shares.sum()).tolist())
    articles = random.choice(["", "The "], count, p=[0.8, 0.2])
    return [filed_title(str(article) + " ".join(next(drawn) for _ in range(size)))
            for article, size in zip(articles, sizes, strict=True)]  # fmt: skip


def years(random: np.random.Generator, count: int) -> list[int]:
    """Years from 1900 to 2025, most of them recent."""
    return (1900 + (126 * random.beta(4, 1.3, count)).astype(np.int64)).tolist()


def catalog_of(named: list[str], of_items: list[int], random: np.random.Generator) -> pa.Table:
    """The columns that titles are looked up in."""
    titles = [f"{name} ({year})" for name, year in zip(named, of_items, strict=True)]
    columns = {"item_id": range(1, len(titles) + 1), "title": titles, "year": of_items}
    return pa.table({**columns, "popularity": random.permutation(len(titles))})


def written(
    named: list[str], of_items: list[int], invented: list[str], random: np.random.Generator
) -> Iterator[str]:
    """What a language model might answer: movies of the catalog and invented ones, in the shares of
    KINDS."""
    kinds = random.choice(list(KINDS), len(invented), p=list(KINDS.values()))
    for kind, place, new in zip(
        kinds, random.integers(0, len(named), len(invented)), invented, strict=True
    ):
        name = new if kind.startswith("invented") else named[place]
        name = mistyped(random, name) if kind == "mistyped" else name
        yield (
            name
            if kind.endswith("no year")
            else f"{name} ({of_items[place] + (kind == 'a year late')})"
        )


def mistyped(random: np.random.Generator, name: str) -> str:
    """The name with a letter left out, doubled or exchanged for another."""
    place = int(random.integers(len(name)))
    return name[:place] + str(random.choice(["", name[place] * 2, "e"])) + name[place + 1 :]


class Exhaustive(TitleIndex):
    """The rival: compares what is not found with all titles."""

    def __init__(self, catalog: pa.Table, fuzzy_threshold: float) -> None:
        super().__init__(catalog, fuzzy_threshold)
        self.lists = {
            year: (list(keys), list(keys.values())) for year, keys in self._by_year.items()
        }
        self.everything = _joined(list(self.lists.values()))

    def _closest(self, key: str, year: int | None) -> int | None:
        near = [] if year is None else [year - 1, year, year + 1, None]
        lists = [self.lists[one] for one in near if one in self.lists]
        keys, items = self.everything if year is None else _joined(lists)
        found = process.extractOne(key, keys, scorer=fuzz.ratio, score_cutoff=self.threshold)
        return items[found[2]] if found else None


def _joined(lists: list[tuple[list[str], list[int]]]) -> tuple[list[str], list[int]]:
    return [key for keys, _ in lists for key in keys], [
        item for _, items in lists for item in items
    ]


def resolved(index: TitleIndex, titles: list[str]) -> tuple[float, list[Resolved]]:
    """The seconds that an index takes for the titles, and what it finds."""
    started = time.perf_counter()
    found = [index.resolve(title) for title in titles]
    return time.perf_counter() - started, found


def main() -> None:
    """Make the catalog and the titles, and run both sides in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--titles", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=87_585)
    parser.add_argument("--sample", type=int, default=2000, help="titles that the rival takes")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    random, console, threshold = (
        np.random.default_rng(0),
        Console(soft_wrap=True),
        RerankSettings().fuzzy_threshold,
    )
    vocabulary = words(random)
    named, of_items = names(random, vocabulary, given.items), years(random, given.items)
    catalog = catalog_of(named, of_items, random)
    titles = list(written(named, of_items, names(random, vocabulary, given.titles), random))
    started = time.perf_counter()
    ours = TitleIndex(catalog, threshold)
    ours.resolve("Of no catalog")  # the first title that is not found has the spellings indexed
    console.print(f"{given.items:,} movies indexed in {time.perf_counter() - started:.1f} s")
    rival, seconds = Exhaustive(catalog, threshold), {"ours": list[float](), "rival": list[float]()}
    for _ in range(given.rounds):
        took, expected = resolved(rival, titles[: given.sample])
        seconds["rival"].append(took * len(titles) / len(expected))
        took, found = resolved(ours, titles)
        seconds["ours"].append(took)
        assert found[: len(expected)] == expected, "both must find the same"
    median = {side: float(np.median(taken)) for side, taken in seconds.items()}
    matches, peak = (
        Counter(one.match for one in found),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    )
    console.print(
        f"ours: {len(titles):,} titles, {len(set(titles)):,} of them different, in {median['ours']:.1f} s "
        f"({len(titles) / median['ours']:,.0f} a second); {dict(matches)}; peak {peak:.1f} GiB"
    )
    console.print(
        f"  comparing with all: {median['rival']:,.0f} s, reckoned from {len(expected):,} titles; "
        f"ours is {median['rival'] / median['ours']:.1f} times as fast"
    )


if __name__ == "__main__":
    main()
