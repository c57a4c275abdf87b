"""The served snapshot is the active one, and whole; a broken one does not replace it."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualrec.errors import PublishError
from dualrec.publishing.manifest import current_manifest, published_paths
from dualrec.publishing.publish import roll_back
from dualrec.serving.snapshot import SnapshotWatch
from dualrec.storage.workspace import Workspace
from tests.serving.site import publish_night, write_models
from tests.staged import NIGHT

NEXT = date(2026, 11, 2)


def titles(watch: SnapshotWatch) -> set[str]:
    """Return the runs behind the lists of some users."""
    return {row["title"] for user in (1, 2, 6) for row in watch.snapshot.published_list(user) or []}


def test_a_new_night_and_a_rollback_replace_what_is_served(
    published: Workspace, watch: SnapshotWatch
) -> None:
    assert not watch.refresh() and titles(watch) == {"A"}
    publish_night(published, "B", NEXT)
    assert watch.refresh() and titles(watch) == {"B"}
    publish_night(published, "C", NEXT)
    assert watch.refresh() and titles(watch) == {"C"}
    roll_back(published, NEXT)
    assert watch.refresh() and titles(watch) == {"B"}
    assert watch.snapshot.publication.number == 3


def test_who_took_a_night_keeps_it_whole(
    published: Workspace, watch: SnapshotWatch, catalog: pa.Table
) -> None:
    write_models(published, catalog.slice(0, 4), "v2", seed=1)
    before, expected = watch.snapshot, watch.snapshot.rank_by_sequence([[3, 4]])
    publish_night(published, "B", NEXT, "v2")
    assert watch.refresh()
    assert before.published_list(1)[0]["title"] == "A"
    assert before.rank_by_sequence([[3, 4]]) == expected
    assert {movie["item_id"] for movie in watch.snapshot.rank_by_sequence([[3, 4]])[0]} == {1, 2}, (
        "the new catalog's"
    )


@pytest.mark.parametrize("broken", ["lists", "model", "manifest"])
def test_a_night_that_cannot_be_read_does_not_replace_one_that_can(
    published: Workspace, watch: SnapshotWatch, broken: str
) -> None:
    publish_night(published, "B", NEXT)
    manifest = current_manifest(published, NEXT)
    assert manifest is not None
    file = {
        "lists": published_paths(published, manifest)[0],
        "model": published.path(f"{published.content('models/sequence/v1')}/model.safetensors"),
        "manifest": published.path(f"recommendations/_manifests/run_date={NEXT}/00000001.json"),
    }[broken]
    kept = Path(file).read_bytes()
    Path(file).write_bytes(b"{" if broken == "manifest" else b"")
    assert not watch.refresh() and titles(watch) == {"A"}
    assert watch.failure
    Path(file).write_bytes(kept)
    assert watch.refresh() and titles(watch) == {"B"}
    assert watch.failure is None


def test_without_a_night_there_is_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="dualrec nightly"):
        SnapshotWatch(Workspace(str(tmp_path)))


def test_files_that_hold_fewer_rows_than_the_manifest_says_are_told(published: Workspace) -> None:
    manifest = current_manifest(published, NIGHT)
    assert manifest is not None
    _, second = published_paths(published, manifest)
    half = pq.read_table(second, partitioning=None).slice(1)
    pq.write_table(half, second)
    with pytest.raises(PublishError, match="its manifest says 18"):
        SnapshotWatch(published)
