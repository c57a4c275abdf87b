"""Ties generated titles to items and compares them with the sequence model's first choice by SBERT,
in a Ray actor.

As published, a title's score is the cosine similarity of its embedding to that of the first choice.
The embeddings of the catalog are computed once and shared by all actors.
"""

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from dualrec.assets.trust import NO_CODE, loading
from dualrec.language.titles import Resolved, TitleIndex, display_title, written_titles
from dualrec.storage.schemas import TRACES, conform


def catalog_embeddings(model_folder: str, titles: list[str]) -> np.ndarray:
    """Unit vectors float32 (n, d) of published titles, as people write them."""
    return _encode(_encoder(model_folder), titles)


class Reranker:
    """Adds titles, title_item_ids, title_matches and title_similarities to generated answers;
    title_logprobs are null.

    Args:
        model_folder: a sentence-transformers folder.
        catalog: schema CATALOG.
        embeddings: float32 (N, d), unit vectors in the order of the catalog.
        fuzzy_threshold: see RerankSettings.
        titles: titles that an answer should hold.
    """

    def __init__(
        self,
        model_folder: str,
        catalog: pa.Table,
        embeddings: np.ndarray,
        fuzzy_threshold: float,
        titles: int,
    ) -> None:
        self.model_folder = model_folder
        self.index = TitleIndex(catalog, fuzzy_threshold)
        self.embeddings = embeddings
        self.row_of = {item: row for row, item in enumerate(catalog.column("item_id").to_pylist())}
        self.titles = titles

    @cached_property
    def encoder(self) -> Any:
        """Loaded when the first title comes that no catalog has: where a shortlist is kept to,
        never."""
        return _encoder(self.model_folder)

    def __call__(self, answers: pa.Table) -> pa.Table:
        """Append the columns to a batch; the result has schema TRACES."""
        texts, reasons, choices = (
            answers.column(name).to_pylist()
            for name in ("generated_text", "finish_reason", "sequence_item_ids")
        )
        resolved = [
            [
                self.index.resolve(title)
                for title in written_titles(text or "", self.titles, reason == "length")
            ]
            for text, reason in zip(texts, reasons, strict=True)
        ]
        similarities = self._similarities(
            resolved, [items[0] if items else None for items in choices]
        )
        columns = {
            "titles": [[one.title for one in row] for row in resolved],
            "title_item_ids": [[one.item_id for one in row] for row in resolved],
            "title_matches": [[one.match for one in row] for row in resolved],
            "title_similarities": similarities,
        }
        for name, values in columns.items():
            answers = answers.append_column(name, pa.array(values, TRACES.field(name).type))
        answers = answers.append_column(
            "title_logprobs", pa.nulls(len(answers), TRACES.field("title_logprobs").type)
        )
        return conform(answers, TRACES, "traces")

    def _similarities(
        self, resolved: list[list[Resolved]], first: list[int | None]
    ) -> list[list[float]]:
        unknown = sorted({one.title for row in resolved for one in row if one.item_id is None})
        vectors = dict(zip(unknown, _encode(self.encoder, unknown), strict=True)) if unknown else {}
        return [
            [
                0.0
                if choice is None
                else float(self._vector(one, vectors) @ self.embeddings[self.row_of[choice]])
                for one in row
            ]
            for row, choice in zip(resolved, first, strict=True)
        ]

    def _vector(self, one: Resolved, vectors: dict[str, np.ndarray]) -> np.ndarray:
        return (
            vectors[one.title]
            if one.item_id is None
            else np.asarray(self.embeddings[self.row_of[one.item_id]])
        )


def _encoder(model_folder: str) -> Any:
    from sentence_transformers import SentenceTransformer

    with loading(model_folder):
        return SentenceTransformer(model_folder, device="cpu", **NO_CODE)


def _encode(encoder: Any, titles: list[str]) -> np.ndarray:
    texts = [display_title(title) for title in titles]
    vectors = encoder.encode(
        texts, batch_size=128, normalize_embeddings=True, show_progress_bar=False
    )
    return np.asarray(vectors, np.float32)
