"""Embeddings of a catalog's titles, by real Ray tasks and an encoder of random weights."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray

from dualrec.data.prepare import Prepared
from dualrec.language import rerank
from dualrec.language.rerank import Reranker, catalog_embeddings, title_embeddings
from dualrec.storage.schemas import TRACES
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
    monkeypatch.setattr(rerank, "TITLES_PER_TASK", 4)
    first = title_embeddings(workspace, data, settings)
    assert np.allclose(ray.get(first), catalog_embeddings(str(folder), titles), atol=1e-6)

    monkeypatch.setattr(rerank, "title_vectors", None)  # nothing is embedded again
    second = title_embeddings(workspace, data, settings)
    assert np.array_equal(ray.get(first), ray.get(second))
    assert not ray.get(_is_a_copy.remote([second]))


ANSWERED = [name for name in TRACES.names if not name.startswith("title")]
SEQUENCE_CHOICE = 3  # Heat


def _answers(text: str) -> pa.Table:
    row = {
        "user_id": 1,
        "item_ids": [1],
        "sequence_item_ids": [SEQUENCE_CHOICE],
        "generated_text": text,
        "finish_reason": "stop",
    }
    return pa.Table.from_pylist([row], schema=pa.schema([TRACES.field(name) for name in ANSWERED]))


def _unit(rows: int) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_known_titles_are_compared_by_the_catalogs_vectors_and_no_encoder_is_loaded(
    catalog: pa.Table,
) -> None:
    vectors = _unit(len(catalog))
    read = Reranker("no such folder", catalog, vectors, fuzzy_threshold=90, titles=2)
    (row,) = read(_answers("Seven (1995)\nHeat (1995)")).to_pylist()
    assert row["title_item_ids"][1] == SEQUENCE_CHOICE
    places = [catalog.column("item_id").to_pylist().index(item) for item in row["title_item_ids"]]
    assert row["title_similarities"] == pytest.approx(
        (vectors[places] @ vectors[places[1]]).tolist(), abs=1e-6
    )


def test_a_title_in_no_catalog_is_encoded(catalog: pa.Table, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder")
    vectors = catalog_embeddings(str(folder), catalog.column("title").to_pylist())
    (row,) = Reranker(str(folder), catalog, vectors, 90, 1)(
        _answers("Nobody Filed This (1901)")
    ).to_pylist()
    assert row["title_item_ids"] == [None] and row["title_matches"] == ["none"]
    own = catalog_embeddings(str(folder), row["titles"])
    choice = catalog.column("item_id").to_pylist().index(SEQUENCE_CHOICE)
    assert row["title_similarities"] == pytest.approx([float(own[0] @ vectors[choice])], abs=1e-5)
