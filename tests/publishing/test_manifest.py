"""Manifests: written once, numbered, read back as they were; what is none, or is not named as one,
is passed over or told."""

import json
import re
from datetime import UTC, date, datetime

import pytest

from dualrec.errors import PublishError
from dualrec.publishing.manifest import (
    TRACES,
    USERS,
    Manifest,
    current_manifest,
    current_manifests,
    latest_manifest,
    manifest_name,
    manifest_numbers,
    previous_number,
    published_paths,
    read_manifest,
    staging_folder,
    write_manifest,
)
from dualrec.storage.workspace import Workspace

FIRST, SECOND = date(2026, 11, 1), date(2026, 11, 2)


@pytest.fixture
def workspace(place: str) -> Workspace:
    return Workspace(place)


def manifest(
    run_date: date = FIRST, number: int = 1, run_id: str = "A", restores: int | None = None
) -> Manifest:
    """A publication of two files."""
    folder = staging_folder(run_date, run_id).removeprefix("recommendations/")
    files = [
        {"path": f"{folder}/part-{part}.parquet", "rows": 3, "bytes": 9, "sha256": "ab"}
        for part in (0, 1)
    ]
    return Manifest.model_validate(
        {
            "run_date": run_date,
            "run_id": run_id,
            "users": 2,
            "rows": 6,
            "files": files,
            "models": {"sequence": "v1"},
            "settings_hash": "5ea7",
            "metrics": {"scored": 2},
            "cost": {"tokens_in": 7},
            "number": number,
            "restores": restores,
            "delta_version": number,
            "published": datetime(2026, 11, 2, tzinfo=UTC),
        }
    )


def test_a_manifest_lies_where_readers_look_for_it_and_says_what_docs_nightly_tells(
    workspace: Workspace,
) -> None:
    write_manifest(workspace, manifest(number=3))
    (name,) = [workspace.name_of(info.path) for info in workspace.files("recommendations")]
    assert (
        name
        == manifest_name(FIRST, 3)
        == "recommendations/_manifests/run_date=2026-11-01/00000003.json"
    )
    assert set(json.loads(workspace.read_bytes(name))) == {
        "run_date",
        "run_id",
        "number",
        "users",
        "rows",
        "files",
        "models",
        "settings_hash",
        "metrics",
        "cost",
        "delta_version",
        "published",
        "restores",
    }
    assert read_manifest(workspace, FIRST, 3) == manifest(number=3)


def test_a_manifest_is_never_changed(workspace: Workspace) -> None:
    write_manifest(workspace, manifest())
    write_manifest(workspace, manifest())  # whoever finishes a publication writes the same
    with pytest.raises(PublishError) as refused:
        write_manifest(workspace, manifest(run_id="B"))
    assert str(refused.value) == (
        f"{workspace.uri}/{manifest_name(FIRST, 1)} is there and describes another publication "
        "than the Delta table does: somebody changed one of them by hand; nothing was overwritten"
    )
    assert read_manifest(workspace, FIRST, 1).run_id == "A"
    with pytest.raises(ValueError, match="frozen"):
        manifest().users = 3


def test_fields_of_a_later_version_are_passed_over(workspace: Workspace) -> None:
    written = json.loads(manifest().model_dump_json()) | {"of_a_later_version": 1}
    workspace.write_bytes(manifest_name(FIRST, 1), json.dumps(written).encode())
    assert read_manifest(workspace, FIRST, 1) == manifest()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "the file: Invalid JSON"),
        (b'{"run_date": "soon"}', "run_date: "),
        (
            manifest().model_dump_json().replace('"rows":3', '"rows":"many"').encode(),
            r"files\.0\.rows: ",
        ),
    ],
    ids=["cut off", "a field", "a field of a file"],
)
def test_what_is_no_manifest_is_named_with_its_first_fault(
    workspace: Workspace, content: bytes, said: str
) -> None:
    workspace.write_bytes(manifest_name(FIRST, 1), content)
    where = re.escape(f"{workspace.uri}/{manifest_name(FIRST, 1)}")
    with pytest.raises(
        PublishError, match=rf"^{where} is no manifest: {said}.*; restore it from a copy$"
    ):
        current_manifest(workspace, FIRST)


def test_the_highest_number_stands_and_other_files_are_no_manifests(workspace: Workspace) -> None:
    assert manifest_numbers(workspace) == {} and current_manifest(workspace, FIRST) is None
    assert latest_manifest(workspace) is None and current_manifests(workspace) == []
    for run_date, number in ((SECOND, 1), (FIRST, 2), (FIRST, 10), (FIRST, 1)):
        write_manifest(workspace, manifest(run_date, number))
    folder = manifest_name(FIRST, 1).rpartition("/")[0]
    for other in ("00000011.json.tmp", "11.json", "notes.txt", "000000011.json", "00000011xjson"):
        workspace.write_bytes(f"{folder}/{other}", b"{}")
    assert manifest_numbers(workspace) == {FIRST: [1, 2, 10], SECOND: [1]}
    assert list(manifest_numbers(workspace)) == [FIRST, SECOND], "the earliest date first"
    assert manifest_numbers(workspace, SECOND) == {SECOND: [1]}
    assert current_manifest(workspace, FIRST) == manifest(number=10)
    assert current_manifests(workspace) == [manifest(number=10), manifest(SECOND)]


def test_the_last_night_is_that_of_the_latest_date_and_may_be_asked_for_before_another(
    workspace: Workspace,
) -> None:
    for run_date, number in ((FIRST, 1), (FIRST, 2), (SECOND, 1)):
        write_manifest(workspace, manifest(run_date, number))
    assert latest_manifest(workspace) == manifest(SECOND)
    assert latest_manifest(workspace, before=SECOND) == manifest(FIRST, 2)
    assert latest_manifest(workspace, before=FIRST) is None


def test_the_version_before_is_that_before_the_files_were_first_published() -> None:
    assert previous_number(manifest(number=3), [1, 2, 3]) == 2
    assert previous_number(manifest(number=1), [1]) is None
    rolled_back = manifest(number=4, restores=2)
    assert (rolled_back.origin, manifest(number=4).origin) == (2, 4)
    assert previous_number(rolled_back, [1, 2, 3, 4]) == 1, (
        "neither what was taken back nor the files that stand"
    )


def test_the_files_of_a_night_lie_where_its_run_staged_them(workspace: Workspace) -> None:
    assert staging_folder(FIRST, "A-1") == "recommendations/run_date=2026-11-01/night-A-1"
    assert staging_folder(FIRST, "A-1", TRACES) == "traces/run_date=2026-11-01/night-A-1"
    published = manifest(run_id="A-1")
    assert published.folder(USERS) == "users/run_date=2026-11-01/night-A-1"
    of_one_file = published.model_copy(update={"files": published.files[:1]})
    assert of_one_file.folder(USERS) == published.folder(USERS)
    assert [workspace.name_of(path) for path in published_paths(workspace, published)] == [
        f"{staging_folder(FIRST, 'A-1')}/part-{part}.parquet" for part in (0, 1)
    ]


@pytest.mark.parametrize(
    ("run_id", "taken"), [("a" * 80, True), ("a" * 81, False), ("z_Z-9", True), ("a.b", False)]
)
def test_a_run_id_holds_up_to_80_letters_digits_hyphens_and_underscores(
    run_id: str, taken: bool
) -> None:
    if taken:
        assert staging_folder(FIRST, run_id).endswith(f"/night-{run_id}")
    else:
        with pytest.raises(
            PublishError, match=f"^run id '{run_id}': expected 1 to 80 letters, digits, - and _$"
        ):
            staging_folder(FIRST, run_id)
