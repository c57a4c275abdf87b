"""Rank candidates by the likelihood of their labels: the letters under which a prompt shows them,
one token each, and the order that an engine's likelihoods of these give. Knows a tokenizer,
tables and vectors; no Ray.
"""

import string
from typing import Any

import numpy as np
import pyarrow as pa

from dualrec.data.catalog import titles_of
from dualrec.errors import SettingsError
from dualrec.language.titles import filed_title
from dualrec.storage.schemas import TRACES, conform

LABELS = string.ascii_uppercase


def label_tokens(tokenizer: Any, count: int) -> list[int]:
    """The token id of each of the first `count` labels, as the first token of an answer.

    Answers are turned into tokens on their own, as in fine-tuning: SentencePiece tokenizers begin
    them with a space.

    Raises:
        SettingsError: a label is not exactly one token, or not one of its own, so that its
            likelihood is no token's.
    """
    tokens = {
        label: list(tokenizer(label, add_special_tokens=False)["input_ids"])
        for label in LABELS[:count]
    }
    taken: set[int] = {tokenizer.unk_token_id}
    for position, (label, ids) in enumerate(tokens.items()):
        if len(ids) != 1 or ids[0] in taken:
            raise SettingsError(
                f"language.mode=rank needs labels of one token each, and this model's tokenizer "
                f"has none for {label!r}: "
                f"it gives the tokens {ids}. Rank at most {position} items "
                f"(language.rank_candidates), generate titles "
                "(language.mode=generate), or name another language.model"
            )
        taken.update(ids)
    return [ids[0] for ids in tokens.values()]


class LabelLimits:
    """Adds `max_tokens int32` and `label_tokens list<int32>` to requests that carry the sequence
    model's choices.

    The answer is one token: the label of one of the candidates. Without candidates there are no
        labels.

    Args:
        tokenizer: the language model's.
        candidates: how many items are ranked at most.
    """

    def __init__(self, tokenizer: Any, candidates: int) -> None:
        self.labels = label_tokens(tokenizer, candidates)

    def __call__(self, requests: pa.Table) -> pa.Table:
        """Append the columns to a batch."""
        labels = [
            self.labels[: len(choices)]
            for choices in requests.column("sequence_item_ids").to_pylist()
        ]
        return requests.append_column(
            "max_tokens", pa.array([1] * len(requests), pa.int32())
        ).append_column("label_tokens", pa.array(labels, pa.list_(pa.int32())))


class CandidateOrder:
    """Adds the candidates, the likeliest first, to answers with label_logprobs, as if they were
    titles written so.

    Nothing is to be looked up or encoded: a candidate is an item, so its match is exact and its
        vector is known.

    Args:
        catalog: schema CATALOG.
        embeddings: float32 (N, d), unit vectors in the order of the catalog.
    """

    def __init__(self, catalog: pa.Table, embeddings: np.ndarray) -> None:
        self.titles = {item: filed_title(title) for item, title in titles_of(catalog).items()}
        self.row_of = {item: row for row, item in enumerate(self.titles)}
        self.embeddings = embeddings

    def __call__(self, answers: pa.Table) -> pa.Table:
        """Append titles, title_item_ids, title_matches, title_similarities and title_logprobs:
        schema TRACES.

        All are empty where the language model failed.
        """
        choices, likelihoods = (
            answers.column(name).to_pylist() for name in ("sequence_item_ids", "label_logprobs")
        )
        ranked = [
            likeliest_first(items[: len(logprobs)], np.array(logprobs))
            for items, logprobs in zip(choices, likelihoods, strict=True)
        ]
        columns = {
            "titles": [[self.titles[item] for item in items] for items, _ in ranked],
            "title_item_ids": [items for items, _ in ranked],
            "title_matches": [["exact"] * len(items) for items, _ in ranked],
            "title_similarities": [
                self._similarities(items, first)
                for (items, _), first in zip(ranked, choices, strict=True)
            ],
            "title_logprobs": [logprobs for _, logprobs in ranked],
        }
        for name, values in columns.items():
            answers = answers.append_column(name, pa.array(values, TRACES.field(name).type))
        return conform(answers, TRACES, "traces")

    def _similarities(self, items: list[int], choices: list[int]) -> list[float]:
        if not items:
            return []
        first = self.embeddings[self.row_of[choices[0]]]
        return (self.embeddings[[self.row_of[item] for item in items]] @ first).tolist()


def likeliest_first(items: list[int], logprobs: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Items by falling log-likelihood, equal ones in their order, and the log-likelihoods among
    these items alone.

    Args:
        logprobs: float64 (n,), of the items' labels among all tokens.

    Returns:
        The items, and float64 (n,), whose exponentials sum to 1.
    """
    order = np.argsort(-logprobs, kind="stable")
    ordered = logprobs[order]
    return [items[index] for index in order.tolist()], ordered - np.logaddexp.reduce(
        ordered
    ) if len(items) else ordered
