"""The night that is served is the one that stands, and a whole one; a broken one does not replace
it."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualrec.errors import PublishError
from dualrec.publishing.manifest import published_paths, standing_manifest
from dualrec.publishing.publish import roll_back
from dualrec.serving.watch import NightWatch
from dualrec.storage.workspace import Workspace
from tests.serving.site import publish_night, write_models
from tests.staged import NIGHT

NEXT = date(2026, 11, 2)


def titles(watch: NightWatch) -> set[str]:
    """The runs that the lists of some users come from."""
    return {row["title"] for user in (1, 2, 6) for row in watch.night.published(user) or []}


def test_a_new_night_and_a_rollback_replace_what_is_served(
    published: Workspace, watch: NightWatch
) -> None:
    assert not watch.look() and titles(watch) == {"A"}
    publish_night(published, "B", NEXT)
    assert watch.look() and titles(watch) == {"B"}
    publish_night(published, "C", NEXT)
    assert watch.look() and titles(watch) == {"C"}
    roll_back(published, NEXT)
    assert watch.look() and titles(watch) == {"B"}
    assert watch.night.publication.number == 3


def test_who_took_a_night_keeps_it_whole(
    published: Workspace, watch: NightWatch, catalog: pa.Table
) -> None:
    write_models(published, catalog.slice(0, 4), "v2", seed=1)
    before, expected = watch.night, watch.night.by_sequence([[3, 4]])
    publish_night(published, "B", NEXT, "v2")
    assert watch.look()
    assert before.published(1)[0]["title"] == "A"
    assert before.by_sequence([[3, 4]]) == expected
    assert {movie["item_id"] for movie in watch.night.by_sequence([[3, 4]])[0]} == {1, 2}, (
        "the new catalog's"
    )


@pytest.mark.parametrize("broken", ["lists", "model", "manifest"])
def test_a_night_that_cannot_be_read_does_not_replace_one_that_can(
    published: Workspace, watch: NightWatch, broken: str
) -> None:
    publish_night(published, "B", NEXT)
    manifest = standing_manifest(published, NEXT)
    assert manifest is not None
    file = {
        "lists": published_paths(published, manifest)[0],
        "model": published.path(f"{published.content('models/sequence/v1')}/model.safetensors"),
        "manifest": published.path(f"recommendations/_manifests/run_date={NEXT}/00000001.json"),
    }[broken]
    kept = Path(file).read_bytes()
    Path(file).write_bytes(b"{" if broken == "manifest" else b"")
    assert not watch.look() and titles(watch) == {"A"}
    assert watch.failure
    Path(file).write_bytes(kept)
    assert watch.look() and titles(watch) == {"B"}
    assert watch.failure is None


def test_without_a_night_there_is_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="dualrec nightly"):
        NightWatch(Workspace(str(tmp_path)))


def test_files_that_hold_fewer_rows_than_the_manifest_says_are_told(published: Workspace) -> None:
    manifest = standing_manifest(published, NIGHT)
    assert manifest is not None
    _, second = published_paths(published, manifest)
    half = pq.read_table(second, partitioning=None).slice(1)
    pq.write_table(half, second)
    with pytest.raises(PublishError, match="its manifest says 18"):
        NightWatch(published)
