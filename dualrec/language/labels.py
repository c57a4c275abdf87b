"""The letters under which candidates are shown and ranked: one token each. Knows a tokenizer and
tables; no Ray."""

import string
from typing import Any

import pyarrow as pa

from dualrec.errors import SettingsError

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
    for place, (label, ids) in enumerate(tokens.items()):
        if len(ids) != 1 or ids[0] in taken:
            raise SettingsError(
                f"language.mode=rank needs labels of one token each, and this model's tokenizer has none for {label!r}: "
                f"it gives the tokens {ids}. Rank at most {place} items (language.rank_candidates), generate titles "
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
