"""Resolve generated titles to items and compare them with the sequence model's first choice by
SBERT.

As published, a title's score is the cosine similarity of its embedding to that of the first choice.
The embeddings of a catalog are computed once, by Ray tasks, as an artifact of the workspace. They
grow with the catalog (128 MiB for 87,585 titles) and are held once on each node: an array in the
object store is shared memory, which Ray maps read-only into every process that reads it.
"""

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from dualrec.assets.digests import model_digest
from dualrec.assets.here import folder_here
from dualrec.assets.nodes import ModelPlace
from dualrec.assets.trust import NO_CODE, loading
from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared
from dualrec.language.titles import Resolved, TitleIndex, display_title, parse_titles
from dualrec.storage.schemas import TRACES, conform
from dualrec.storage.workspace import Workspace

VECTORS = "vectors.npy"
TITLES_PER_TASK = 8192  # a few times longer to embed than an encoder takes to load


def check_encoder(workspace: Workspace, data: Prepared, settings: Settings) -> None:
    """Find out before Ray is started that there is a sentence encoder, where titles are still to be
    embedded.

    Raises:
        AssetError: there is none of that name.
    """
    if not workspace.has(_name(data, settings)):
        folder_here(ModelPlace.named(settings.rerank.model, settings))


def title_embeddings(
    workspace: Workspace, data: Prepared, settings: Settings
) -> "ray.ObjectRef[np.ndarray]":
    """Unit vectors float32 (N, d) of the catalog's titles, in the object store. Needs a Ray
    session.

    Raises:
        AssetError: the sentence encoder cannot be had.
    """
    name = _name(data, settings)
    if not workspace.has(name):
        vectors = title_vectors(data.catalog.column("title").to_pylist(), settings)
        description = {"data_version": data.version, "model": settings.rerank.model}
        with (
            workspace.writing(name, description) as folder,
            workspace.filesystem.open_output_stream(f"{folder}/{VECTORS}") as file,
        ):
            np.save(file, vectors, allow_pickle=False)
    with workspace.reading(
        f"{workspace.content(name)}/{VECTORS}", buffer_bytes=2**23
    ) as stream:  # np.load would need all bytes in memory
        return ray.put(np.lib.format.read_array(stream, allow_pickle=False))


def _name(data: Prepared, settings: Settings) -> str:
    encoder = model_digest(ModelPlace.named(settings.rerank.model, settings))
    return f"models/embeddings/{version_of(data.version, encoder)}"


def title_vectors(titles: list[str], settings: Settings) -> np.ndarray:
    """Unit vectors float32 (n, d) of any titles, computed in Ray tasks of some thousand titles
    each.

    Raises:
        AssetError: the sentence encoder cannot be had.
    """
    encoder = ModelPlace.named(settings.rerank.model, settings)
    # At least a core each: more tasks at once would only hold more encoders in memory.
    embed = _embed.options(num_cpus=max(settings.rerank.cpus, 1))
    starts = range(0, max(len(titles), 1), TITLES_PER_TASK)
    return np.concatenate(
        ray.get(
            [embed.remote(encoder, titles[start : start + TITLES_PER_TASK]) for start in starts]
        )
    )


@ray.remote
def _embed(encoder: ModelPlace, titles: list[str]) -> np.ndarray:

    return catalog_embeddings(str(encoder.folder()), titles)


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
                for title in parse_titles(text or "", self.titles, reason == "length")
            ]
            for text, reason in zip(texts, reasons, strict=True)
        ]
        similarities = self._similarities(
            resolved, [items[0] if items else None for items in choices]
        )
        columns = {
            "titles": [[written.title for written in row] for row in resolved],
            "title_item_ids": [[written.item_id for written in row] for row in resolved],
            "title_matches": [[written.match for written in row] for row in resolved],
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
        unknown = sorted(
            {written.title for row in resolved for written in row if written.item_id is None}
        )
        vectors = dict(zip(unknown, _encode(self.encoder, unknown), strict=True)) if unknown else {}
        return [
            [
                0.0
                if choice is None
                else float(self._vector(written, vectors) @ self.embeddings[self.row_of[choice]])
                for written in row
            ]
            for row, choice in zip(resolved, first, strict=True)
        ]

    def _vector(self, written: Resolved, vectors: dict[str, np.ndarray]) -> np.ndarray:
        return (
            vectors[written.title]
            if written.item_id is None
            else np.asarray(self.embeddings[self.row_of[written.item_id]])
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
