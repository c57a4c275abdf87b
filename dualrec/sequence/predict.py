"""The sequence model's best items for each request, in a Ray actor. Knows requests; not prompts.

What is computed of every item is bounded whatever the batch and the catalog: a few histories at a
time are scored.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import torch

from dualrec.config.settings import SequenceSettings
from dualrec.sequence.chunks import last_inputs
from dualrec.sequence.network import SequenceNetwork, load_ensemble

MOST_SCORED_LOGITS = (
    2**24
)  # computed at a time, 64 MiB: 47 histories of four networks over 87,585 items


class SequencePredictor:
    """Holds the ensemble, and appends its predictions to each batch of requests.

    Args:
        weights: the bytes of the model's safetensors file.
        settings: those the model was trained with.
        use_gpu: whether the actor was given a GPU.
    """

    def __init__(self, weights: bytes, settings: SequenceSettings, use_gpu: bool = False) -> None:
        from tempfile import NamedTemporaryFile

        self.settings = settings
        self.device = torch.device("cuda" if use_gpu else "cpu")
        with NamedTemporaryFile(suffix=".safetensors") as file:
            file.write(weights)
            file.flush()
            self.ensemble = load_ensemble(Path(file.name), settings).to(self.device).eval()
        self.features = self.ensemble.features
        self.members = [cast(SequenceNetwork, member) for member in self.ensemble.members]
        with torch.no_grad():
            self.item_vectors = [member.tied_item_vectors() for member in self.members]

    def __call__(self, requests: pa.Table) -> pa.Table:
        """Append sequence_item_ids and sequence_scores to requests (schema REQUESTS)."""
        item_ids = [np.asarray(ids, np.int64) for ids in requests.column("item_ids").to_pylist()]
        best, scores = self.top_items(item_ids)
        return requests.append_column(
            "sequence_item_ids", pa.array(best, pa.list_(pa.int64()))
        ).append_column("sequence_scores", pa.array(scores, pa.list_(pa.float32())))

    def top_items(self, item_ids: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the best unwatched items of each history, best first, and their probabilities.

        At most `top_k`; fewer where a user has watched nearly everything.
        """
        items: list[np.ndarray] = []
        scores: list[np.ndarray] = []
        for probabilities in self.probability_batches(item_ids):
            more_items, more_scores = self.best(probabilities)
            items += more_items
            scores += more_scores
        return items, scores

    def probabilities(self, item_ids: list[np.ndarray]) -> torch.Tensor:
        """Return the probability of each item to come next in each history, float32 (n, N); 0 for
        watched items."""
        return torch.cat(list(self.probability_batches(item_ids)))

    @torch.no_grad()
    def probability_batches(self, item_ids: list[np.ndarray]) -> Iterator[torch.Tensor]:
        """Yield the same in order, for as many histories at a time as MOST_SCORED_LOGITS allows."""
        inputs, last = last_inputs(item_ids, self.features, self.settings.chunk_length)
        states = self.ensemble.last_states(
            *(torch.from_numpy(array).to(self.device) for array in (inputs, last))
        )
        size = max(MOST_SCORED_LOGITS // (len(self.members) * len(self.features.item_ids)), 1)
        for start in range(0, max(len(item_ids), 1), size):
            yield self._probabilities(
                states[:, start : start + size], item_ids[start : start + size]
            )

    def _probabilities(self, states: torch.Tensor, item_ids: list[np.ndarray]) -> torch.Tensor:
        members = zip(self.members, states, self.item_vectors, strict=True)
        logits = torch.stack([member.score(own, vectors) for member, own, vectors in members])
        for row, ids in enumerate(item_ids):
            numbers = self.features.numbers_of(ids)
            logits[:, row, torch.from_numpy(numbers[numbers > 0] - 1).to(self.device)] = -torch.inf
        return logits.softmax(-1).mean(0)

    def probabilities_of(
        self, probabilities: torch.Tensor, item_ids: list[np.ndarray]
    ) -> list[np.ndarray]:
        """Select the probabilities of certain items of each row, float32 (items of the row,).

        Args:
            probabilities: float32 (n, N), of `probability_batches`.
            item_ids: int64 (m,) for each row; every item is in the catalog.
        """
        rows = probabilities.cpu().numpy()
        return [
            row[self.features.numbers_of(ids) - 1] for row, ids in zip(rows, item_ids, strict=True)
        ]

    def best(self, probabilities: torch.Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the best items of each row of `probabilities`, best first, and their
        probabilities."""
        values, columns = probabilities.topk(
            min(self.settings.top_k, probabilities.shape[1]), dim=-1
        )
        ids, scores = self.features.item_ids[columns.cpu().numpy()], values.cpu().numpy()
        open_ = scores > 0
        return [row[keep] for row, keep in zip(ids, open_, strict=True)], [
            row[keep] for row, keep in zip(scores, open_, strict=True)
        ]
