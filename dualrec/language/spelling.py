"""Find the title that is spelt most like another, without comparing it with all. Knows strings
and their values.

A spelling that is close enough differs in few characters, and each of them is in few of a title's
pieces of three. So
of any pieces of the title, all but those few are in whatever is close enough: only what shares its
rarest pieces so is compared, and the answer is that of comparing all (the filter of Gravano et al.
2001, "Approximate String Joins in a Database (Almost) for Free").
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate, pairwise

import numpy as np
from rapidfuzz import fuzz, process

PIECE = 3  # characters
# pieces to be shared, where the title has enough: more leave fewer to compare, and more to count
SHARED = 4
_EDGE = "\0" * (
    PIECE - 1
)  # before and after a title, so that its ends are in as many pieces as its middle
_NONE = np.zeros(0, np.int32)


class Spellings:
    """Titles by year, and what each stands for. Close enough is a `rapidfuzz.fuzz.ratio` of the
    threshold or more.

    Args:
        values: of each title of each year; the year is None for titles that have none.
        threshold: 0 to 100. Where it is so low that a close enough title need share no piece, all
            are compared.
    """

    def __init__(self, values: Mapping[int | None, Mapping[str, int]], threshold: float) -> None:
        self.threshold = threshold
        self.titles = [title for of_year in values.values() for title in of_year]
        self.values = [value for of_year in values.values() for value in of_year.values()]
        sizes = np.array([len(of_year) for of_year in values.values()], np.int64)
        self.number_of = {year: number for number, year in enumerate(values)}
        self.bounds = list(
            pairwise(accumulate(sizes.tolist(), initial=0))
        )  # of each year among the titles
        self.years = np.repeat(np.arange(len(sizes)), sizes)  # the year's number of each title
        positions: dict[str, list[int]] = defaultdict(list)
        for position, title in enumerate(self.titles):
            for piece in _pieces(title):
                positions[piece].append(position)
        self.positions = {
            piece: np.array(of_piece, np.int32) for piece, of_piece in positions.items()
        }
        self.most_changed = cache(lambda length: most_changed(length, threshold))

    def closest(self, title: str, years: Sequence[int | None] | None = None) -> int | None:
        """The value of the closest title of some years, or of all; None where none is close enough.

        Of several as close it is that of the first year, and of that year the first.
        """
        numbers = (
            None
            if years is None
            else [self.number_of[year] for year in years if year in self.number_of]
        )
        positions = self._sharing(title, numbers)
        if numbers is not None:
            positions = np.concatenate(
                [_NONE, *(_between(positions, *self.bounds[number]) for number in numbers)]
            )
        titles = [self.titles[position] for position in positions.tolist()]
        match = process.extractOne(title, titles, scorer=fuzz.ratio, score_cutoff=self.threshold)
        return self.values[positions[match[2]]] if match else None

    def _sharing(self, title: str, numbers: list[int] | None) -> np.ndarray:
        """The positions of all titles, of years of these numbers, that may be close enough: int
        (n,), ascending."""
        lists = sorted((self.positions.get(piece, _NONE) for piece in _pieces(title)), key=len)
        changed = self.most_changed(len(title))
        shared = min(SHARED, len(lists) - changed)
        if shared <= 0:
            return np.arange(len(self.titles))
        positions = np.concatenate(lists[: changed + shared])
        if numbers is not None:
            wanted = np.zeros(len(self.bounds), bool)
            wanted[numbers] = True
            positions = positions[wanted[self.years[positions]]]
        positions.sort()
        last = positions[shared - 1 :]
        return np.unique(last[last == positions[: 1 - shared or None]])


def most_changed(length: int, threshold: float) -> int:
    """How many pieces of a title of so many characters are not in one that is close enough, at
    most.

    The ratio is the share of characters of both that stay where one is turned into the other by the
    fewest deletions and insertions. A deletion takes away the pieces that hold the character, an
    insertion parts one fewer.
    """
    stay = threshold / 100
    room = (
        2 * length * (1 - stay) + 1e-6
    )  # a deletion takes 2 - stay of it, an insertion stay; more than rounding errs
    if stay < 0.01:  # then nothing need be shared; and one over a threshold near 0 is infinite
        return length + PIECE  # all of them
    return max(
        PIECE * deleted + (PIECE - 1) * int((room - deleted * (2 - stay)) / stay)
        for deleted in range(int(room / (2 - stay)) + 1)
    )


def _pieces(title: str) -> set[str]:
    padded = f"{_EDGE}{title}{_EDGE}"
    return {padded[start : start + PIECE] for start in range(len(padded) - PIECE + 1)}


def _between(positions: np.ndarray, first: int, end: int) -> np.ndarray:
    """Those of ascending positions from `first` to before `end`."""
    return positions[np.searchsorted(positions, first) : np.searchsorted(positions, end)]
