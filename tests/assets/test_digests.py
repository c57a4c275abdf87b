"""A model's digest follows its content: any edit is seen, a move is not, and large files are hashed
once."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from dualrec.assets import digests
from dualrec.assets.digests import SMALL, file_digest, model_digest
from dualrec.assets.nodes import ModelPlace
from dualrec.assets.registry import Wheel
from dualrec.errors import AssetError
from dualrec.storage.workspace import Workspace

LONG_AGO = 1_700_000_000


@pytest.fixture
def place(tmp_path: Path) -> ModelPlace:
    """A model's folder with large weights, and an empty cache."""
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    for name in (
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "1_Pooling/config.json",
        "README.md",
    ):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(b"0" * (2 * SMALL))
    return ModelPlace(str(folder), str(tmp_path / "cache"))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as written long ago."""
    monkeypatch.setattr(digests, "SETTLED_S", -1.0)


def _file(place: ModelPlace, name: str) -> Path:
    return Path(place.source, name)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "1_Pooling/config.json",
        "model.safetensors",
    ],
)
def test_another_file_of_a_model_gives_another_digest(place: ModelPlace, name: str) -> None:
    before = model_digest(place)
    content = bytearray(_file(place, name).read_bytes())
    content[len(content) // 2] ^= 1
    _file(place, name).write_bytes(content)
    assert model_digest(place) != before


def test_a_lost_file_gives_another_digest(place: ModelPlace) -> None:
    before = model_digest(place)
    _file(place, "chat_template.jinja").unlink()
    assert model_digest(place) != before


def test_a_moved_model_and_the_pages_beside_it_give_the_same_digest(
    place: ModelPlace, tmp_path: Path
) -> None:
    before = model_digest(place)
    moved = ModelPlace(str(shutil.move(place.source, tmp_path / "elsewhere")), place.cache)
    _file(moved, "README.md").write_text("read me again")
    _file(moved, ".cache").mkdir()
    _file(moved, ".cache/download.json").write_text("{}")
    assert model_digest(moved) == before


@pytest.mark.usefixtures("settled")
def test_replaced_weights_of_the_same_size_and_time_are_seen_although_the_first_are_cached(
    place: ModelPlace,
) -> None:
    weights = _file(place, "model.safetensors")
    os.utime(weights, (LONG_AGO, LONG_AGO))
    before = model_digest(place)
    assert list(Path(place.cache, ".digests").iterdir())
    time.sleep(0.05)  # a tick of the file system's clock
    weights.write_bytes(b"1" * (2 * SMALL))
    os.utime(weights, (LONG_AGO, LONG_AGO))
    assert model_digest(place) != before


@pytest.mark.usefixtures("settled")
def test_a_large_file_is_hashed_once_by_all_commands(
    place: ModelPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    original = digests.file_sha256
    monkeypatch.setattr(
        digests, "file_sha256", lambda path: (hashed.append(path.name), original(path))[1]
    )
    found = set()
    for _ in range(3):
        digests._cached_sha256.cache_clear()  # as in another process
        found.add(model_digest(place))
    assert len(found) == 1
    assert hashed.count("model.safetensors") == 1


@pytest.mark.usefixtures("settled")
def test_a_cache_that_is_broken_or_cannot_be_written_only_costs_time(
    place: ModelPlace, tmp_path: Path
) -> None:
    weights = _file(place, "model.safetensors")
    before = file_digest(weights, place.cache)
    for entry in Path(place.cache, ".digests").iterdir():
        entry.write_text(json.dumps([1]))
    digests._cached_sha256.cache_clear()
    assert file_digest(weights, place.cache) == before
    (tmp_path / "file").write_text("no folder")
    assert file_digest(weights, tmp_path / "file") == before


def test_a_file_that_changed_a_moment_ago_is_not_cached(place: ModelPlace) -> None:
    file_digest(_file(place, "model.safetensors"), place.cache)
    assert not Path(place.cache).exists()


def test_a_known_model_has_what_the_registry_pins_before_and_after_its_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = (
        ModelPlace("all-minilm-l6-v2", str(tmp_path / name)) for name in ("here", "there")
    )
    (tmp_path / "here" / "all-minilm-l6-v2").mkdir(parents=True)
    assert (digest := model_digest(here)) == model_digest(there)
    assert digest != model_digest(ModelPlace("smollm2-135m", "cache"))
    monkeypatch.setitem(digests.MODELS, "all-minilm-l6-v2", (Wheel("a==1", "0" * 64, ("a/",)),))
    assert model_digest(here) != digest


def test_a_zip_has_its_own_digest(tmp_path: Path) -> None:
    archive = tmp_path / "model.zip"
    archive.write_bytes(b"one")
    before = model_digest(ModelPlace(str(archive), "cache"))
    archive.write_bytes(b"two")
    assert model_digest(ModelPlace(str(archive), "cache")) != before


def test_a_model_that_is_not_here_has_only_its_name() -> None:
    one, other = (
        model_digest(ModelPlace(name, "cache")) for name in ("/nowhere/one", "/nowhere/other")
    )
    assert one != other == model_digest(ModelPlace("/nowhere/other", "elsewhere"))


def test_replaced_weights_in_object_storage_give_another_digest(s3_workspace: str) -> None:
    workspace, place = Workspace(s3_workspace), ModelPlace(s3_workspace, "cache")
    with pytest.raises(AssetError, match="there is no file there|cannot be read"):
        model_digest(place)
    workspace.write_bytes("model/config.json", b"{}")
    workspace.write_bytes("model/model.safetensors", b"0" * 100)
    found = [model_digest(place)]
    for name, content in (("model/model.safetensors", b"1" * 100), ("model/README.md", b"read me")):
        workspace.write_bytes(name, content)
        assert model_digest(place) == found[-1], "one command sees one model"
        digests._stored_files.cache_clear()
        found.append(model_digest(place))
    assert found[0] != found[1] == found[2]
