"""What each answer is held to: its length, and where decoding is from a shortlist, its titles.
Knows tables; no Ray."""

from functools import cache
from typing import Any

import pyarrow as pa

from dualrec.config.settings import LanguageSettings
from dualrec.language.shortlist import Shortlister, longest_answer, shortlist_grammar


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
        self.spaced = begins_texts_with_a_space(tokenizer)
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
        return min(sum(longest) * 3 // 2 + len(longest) + 1, longest_answer(self.settings.titles))


def begins_texts_with_a_space(tokenizer: Any) -> bool:
    """Whether the first token of a text is that of a word after a space, as in SentencePiece
    tokenizers.

    A model learns to begin its answers so, and an answer's grammar must let it.
    """
    return str(tokenizer.tokenize("A")[0]).startswith("▁")
