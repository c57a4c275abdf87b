"""What the published evaluation was worth: generated titles reranked against a list that holds the
true answers.

The authors' code compares each title with the sequence model's choice and the movies that really
followed, so a title that is true comes first. Nobody has the answers at night; the row stands in
the table so that a reader sees the difference.
"""

from typing import Any

import numpy as np

LEAK = "paper, reranked against the answers (leak)"


def reranked_against_answers(
    trace: dict[str, Any], vectors: dict[str | int, np.ndarray], length: int
) -> list[int | None]:
    """The generated titles by their closest similarity to the sequence model's first choice or any
    true item.

    Args:
        trace: a row of schema TRACES, with the answers in `held_out`.
        vectors: unit vectors float32 (d,) of items by id, and of titles in no catalog by title.
    """
    known = np.stack(
        [vectors[item] for item in [*trace["sequence_item_ids"][:1], *trace["held_out"]]]
    )
    written = list(dict.fromkeys(zip(trace["title_item_ids"], trace["titles"], strict=True)))
    new = [(item, title) for item, title in written if item not in set(trace["item_ids"])]
    closeness = [
        float((known @ vectors[title if item is None else item]).max()) for item, title in new
    ]
    return [new[place][0] for place in np.argsort(-np.array(closeness), kind="stable")[:length]]
