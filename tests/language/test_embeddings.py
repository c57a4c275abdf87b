"""Embeddings of a catalog's titles, by real Ray tasks and an encoder of random weights."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray

from dualrec.data.prepare import Prepared
from dualrec.language import embeddings
from dualrec.language.embeddings import title_embeddings
from dualrec.language.rerank import catalog_embeddings
from dualrec.storage.workspace import Workspace
from tests.nightly.site import write_encoder


@ray.remote
def _is_a_copy(stored: list["ray.ObjectRef[np.ndarray]"]) -> bool:
    array = ray.get(stored[0])
    return bool(array.flags.owndata or array.flags.writeable)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_catalog_is_embedded_once_piece_by_piece_and_no_process_holds_a_copy(
    catalog: pa.Table, tmp_path: Path, settings_for, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_encoder(tmp_path / "encoder")
    settings, data = (
        settings_for(f"rerank.model={folder}"),
        Prepared("v", "movies", catalog, "histories/v"),
    )
    workspace, titles = Workspace.of(settings), catalog.column("title").to_pylist()
    monkeypatch.setattr(embeddings, "TITLES_A_TASK", 4)
    first = title_embeddings(workspace, data, settings)
    assert np.allclose(ray.get(first), catalog_embeddings(str(folder), titles), atol=1e-6)

    monkeypatch.setattr(embeddings, "title_vectors", None)  # nothing is embedded again
    second = title_embeddings(workspace, data, settings)
    assert np.array_equal(ray.get(first), ray.get(second))
    assert not ray.get(_is_a_copy.remote([second]))
