"""Limit what an answer may hold: the titles that a language model may write for one user, the
grammar that enforces them, and the number of tokens. Knows ids, titles, vectors and tables; no Ray.

Free decoding lets a small model write well-formed titles of movies that do not exist. A shortlist
is the sequence model's best unwatched items and the unwatched items whose titles are closest to the
history's.
"""

import json
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from dualrec.config.settings import LanguageSettings, ShortlistSettings
from dualrec.language.titles import TitleIndex, filed_title

_BITS = 10  # of the 64 that a rule of llguidance can carry, for each title already written
MAX_SHORTLIST, MAX_ANSWER_TITLES = 2**_BITS - 1, 64 // _BITS + 1
LONGEST_TITLE = 120  # characters; longer titles are on no shortlist, so that an answer has a limit


def max_answer_tokens(titles: int) -> int:
    """Tokens that any answer from a shortlist fits, at two characters a token."""
    return titles * (LONGEST_TITLE // 2 + 1)


class Shortlister:
    """Chooses each user's shortlist.

    Args:
        catalog: schema CATALOG.
        embeddings: float32 (N, d), unit vectors in the order of the catalog.
    """

    def __init__(
        self, catalog: pa.Table, embeddings: np.ndarray, settings: ShortlistSettings
    ) -> None:
        item_ids = catalog.column("item_id").to_pylist()
        index = TitleIndex(catalog, fuzzy_threshold=100)
        titles = [filed_title(title) for title in catalog.column("title").to_pylist()]
        # Of several items with one title, only the one that the title is taken for can be written.
        self.titles = [
            title
            if len(title) <= LONGEST_TITLE and index.resolve(title).item_id == item_id
            else None
            for item_id, title in zip(item_ids, titles, strict=True)
        ]
        self.row_of = {item: row for row, item in enumerate(item_ids)}
        self.embeddings, self.settings = embeddings, settings

    def __call__(self, watched: list[int], choices: list[int]) -> list[str]:
        """Titles as they are filed, all different, none of a watched movie.

        Args:
            watched: the history, oldest first.
            choices: the sequence model's best unwatched items, best first.
        """
        rows = [self.row_of[item] for item in choices[: self.settings.sequence_items]]
        rows += self._neighbours(
            [self.row_of[item] for item in watched if item in self.row_of], rows
        )
        return [title for row in rows if (title := self.titles[row]) is not None]

    def _neighbours(self, watched: list[int], rows: list[int]) -> list[int]:
        """Rows of the unwatched items closest to the mean of the recent titles."""
        if not watched or not self.settings.neighbours:
            return []
        closeness = self.embeddings @ self.embeddings[
            watched[-self.settings.history_length :]
        ].mean(0)
        closeness[[*watched, *rows]] = -np.inf
        best = top_indices(closeness, self.settings.neighbours)
        return best[closeness[best] > -np.inf].tolist()


def top_indices(values: np.ndarray, count: int) -> np.ndarray:
    """The indices int64 (count,) of the greatest of many values, greatest first, and of equals the
    first; fewer of fewer."""
    least = np.partition(values, -count)[-count] if count < len(values) else -np.inf
    indices = np.flatnonzero(values >= least)  # sorting these few alone is what makes it fast
    return indices[np.argsort(-values[indices], kind="stable")[:count]]


def shortlist_grammar(titles: list[str], count: int, spaced: bool = False) -> str:
    """A grammar, in llguidance's form of Lark, of answers with `count` different titles of the
    list, one a line.

    Each rule carries the numbers of the titles before it, so that none comes twice: a plain grammar
    would need a rule for every pair
    (https://github.com/guidance-ai/llguidance/blob/main/docs/parametric.md).

    Args:
        titles: at most MAX_SHORTLIST, all different.
        count: at least 1, at most MAX_ANSWER_TITLES; fewer are written where the list holds fewer.
        spaced: a space may stand before the answer, where the tokenizer begins every text with one.
    """
    count = min(count, len(titles))
    assert 1 <= count <= MAX_ANSWER_TITLES and len(titles) == len(set(titles)) <= MAX_SHORTLIST
    start, carried = (
        ("title1::0x0", "::_") if count > 1 else ("title1", "")
    )  # a rule must use what it carries
    lines = [f'start: " "? {start}' if spaced else f"start: {start}"]
    for position in range(1, count + 1):
        alternatives = (
            _alternative(position, number, count) for number in range(1, len(titles) + 1)
        )
        lines.append(f"title{position}{carried}: " + "\n  | ".join(alternatives))
    lines += [
        f"T{number}: {json.dumps(title, ensure_ascii=False)}"
        for number, title in enumerate(titles, start=1)
    ]
    return "\n".join(lines)


def _alternative(position: int, number: int, count: int) -> str:
    """Write title `number` at `position`, unless an earlier position holds it, and go on with the
    next position."""
    after = (
        f' "\\n" title{position + 1}::bit_or({number << _BITS * (position - 1)})'
        if position < count
        else ""
    )
    unused = [
        f"ne([{_BITS * before}:{_BITS * (before + 1)}], {number})" for before in range(position - 1)
    ]
    condition = unused[0] if unused else ""
    for another in unused[1:]:
        condition = f"and({condition}, {another})"
    return f"T{number}{after}" + (f" %if {condition}" if condition else "")


def grammar_fingerprint(settings: LanguageSettings) -> list[str]:
    """Return the grammar that holds answers to a shortlist; nothing where nothing holds them."""
    if settings.mode == "rank" or settings.decoding != "shortlist":
        return []
    return [
        shortlist_grammar([f"Title {number}" for number in range(settings.titles)], settings.titles)
    ]


class AnswerLimits:
    """Adds `max_tokens int32` and `grammar string` to requests that carry the sequence model's
    choices.

    The grammar is null where decoding is free, and where nothing is left to recommend.

    Args:
        tokenizer: the language model's.
        shortlister: chooses the titles of requests with the decoding `shortlist`.
    """

    def __init__(
        self, tokenizer: Any, settings: LanguageSettings, shortlister: Shortlister
    ) -> None:
        self.settings, self.shortlister = settings, shortlister
        self.spaced = starts_text_with_space(tokenizer)
        self.tokens_in = cache(lambda title: len(tokenizer.tokenize(title)))

    def __call__(self, requests: pa.Table) -> pa.Table:
        """Append the columns to a batch."""
        limits, grammars = [], []
        columns = (
            requests.column(name).to_pylist()
            for name in ("item_ids", "sequence_item_ids", "decoding")
        )
        for item_ids, choices, decoding in zip(*columns, strict=True):
            titles = self.shortlister(item_ids, choices) if decoding == "shortlist" else []
            limits.append(self._tokens_for(titles) if titles else self.settings.max_new_tokens)
            grammars.append(self._grammar(titles) if titles else None)
        return requests.append_column("max_tokens", pa.array(limits, pa.int32())).append_column(
            "grammar", pa.array(grammars, pa.string())
        )

    def _grammar(self, titles: list[str]) -> str:
        return shortlist_grammar(titles, self.settings.titles, self.spaced)

    def _tokens_for(self, titles: list[str]) -> int:
        """Tokens that hold the longest answer, and half again: a model may spell a title in more
        than its tokenizer."""
        longest = sorted(map(self.tokens_in, titles))[-self.settings.titles :]
        return min(
            sum(longest) * 3 // 2 + len(longest) + 1, max_answer_tokens(self.settings.titles)
        )


def starts_text_with_space(tokenizer: Any) -> bool:
    """Whether the first token of a text is that of a word after a space, as in SentencePiece
    tokenizers.

    A model learns to begin its answers so, and an answer's grammar must let it.
    """
    return str(tokenizer.tokenize("A")[0]).startswith("▁")
