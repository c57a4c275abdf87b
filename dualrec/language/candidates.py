"""From the likelihoods of labels to the order of the candidates that stand under them. Knows tables
and vectors only."""

import numpy as np
import pyarrow as pa

from dualrec.data.catalog import titles_of
from dualrec.language.titles import filed_title
from dualrec.storage.schemas import TRACES, conform


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
    return [items[place] for place in order.tolist()], ordered - np.logaddexp.reduce(
        ordered
    ) if len(items) else ordered
