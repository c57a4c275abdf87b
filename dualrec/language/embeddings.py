"""Sentence embeddings of titles, computed by Ray tasks; those of a catalog once, as an artifact of
the workspace.

They grow with the catalog (128 MiB for 87,585 titles) and are held once on each node: an array in
the object store is shared memory, which Ray maps read-only into every process that asks for it.
"""

import numpy as np
import ray

from dualrec.assets.digests import model_digest
from dualrec.assets.here import folder_here
from dualrec.assets.nodes import ModelPlace
from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared
from dualrec.storage.workspace import Workspace

VECTORS = "vectors.npy"
TITLES_A_TASK = 8192  # a few times longer to embed than an encoder takes to load


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
        made = {"data_version": data.version, "model": settings.rerank.model}
        with (
            workspace.writing(name, made) as folder,
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
    starts = range(0, max(len(titles), 1), TITLES_A_TASK)
    return np.concatenate(
        ray.get([embed.remote(encoder, titles[start : start + TITLES_A_TASK]) for start in starts])
    )


@ray.remote
def _embed(encoder: ModelPlace, titles: list[str]) -> np.ndarray:
    from dualrec.language.rerank import catalog_embeddings

    return catalog_embeddings(str(encoder.folder()), titles)
