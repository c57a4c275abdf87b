"""A model of the Hugging Face hub: safetensors, settings and tokenizer only. Pickled weights are
never fetched.

HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to huggingface_hub. Offline, the hub's
own cache on this machine serves, where it holds the model.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dualrec.assets.connectivity import why_unreachable
from dualrec.assets.download import file_sha256
from dualrec.config.settings import DownloadSettings
from dualrec.errors import AssetError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

WANTED = ["*.safetensors", "*.json", "tokenizer*", "*.model", "*.txt", "*.jinja", "LICENSE*"]
# Pickles could run code. The others are the same weights again, for other programs.
UNWANTED = ["*.bin", "*.pt", "*.pth", "*.pkl", "*.h5", "*.ot", "*.onnx", "*.gguf"]
UNWANTED += ["onnx/*", "openvino/*", "original/*", "consolidated*.safetensors"]


def download_model(
    repo_id: str, target: Path, downloads: Path, settings: DownloadSettings = DownloadSettings()
) -> str:
    """Fetch a model into the new folder `target`, and return its commit. What came before a cut is
    kept in `downloads`.

    Raises:
        AssetError: the hub cannot be reached, the model is not there or not open to this user,
            files are missing or
            not those that the hub lists; or, offline, this machine's cache of the hub does not hold
            the model whole.
    """
    with _explained(repo_id):
        if _is_offline():
            return _from_local_cache(repo_id, target)
        return _from_hub(repo_id, target, downloads, settings)


def _is_offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in (
        "1",
        "ON",
        "YES",
        "TRUE",
    )


def _endpoint() -> str:
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    import huggingface_hub.errors as hub

    http_error: type[Exception] = hub.HTTPError  # of httpx or httpx2, as the hub's client has it
    try:
        yield
    except hub.GatedRepoError as error:
        raise AssetError(
            f"{repo_id}: its owner asks for consent: accept the terms at {_endpoint()}/{repo_id}, then set HF_TOKEN"
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise AssetError(
            f"{repo_id}: not on {_endpoint()}, or private: check the name or set HF_TOKEN"
        ) from error
    except (http_error, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise AssetError(f"{repo_id}: cannot be had from {_endpoint()}: {reason}") from error


def _from_hub(repo_id: str, target: Path, downloads: Path, settings: DownloadSettings) -> str:
    from huggingface_hub import HfApi, snapshot_download

    endpoint = _endpoint()
    _reach(endpoint, settings)
    info = HfApi(endpoint=endpoint).model_info(
        repo_id, files_metadata=True, timeout=settings.read_timeout_s
    )
    if info.sha is None:
        raise ValueError("it names no commit")
    partial = downloads / f"{repo_id.replace('/', '--')}.hub"
    # The commit is given: with a branch, a client that loses the hub passes a partial folder for a
    # whole one.
    snapshot_download(
        repo_id,
        revision=info.sha,
        local_dir=partial,
        endpoint=endpoint,
        allow_patterns=WANTED,
        ignore_patterns=UNWANTED,
    )
    _move_checked(repo_id, info.siblings or [], partial, target)
    return info.sha


def _reach(endpoint: str, settings: DownloadSettings) -> None:
    """Fail within seconds where there is no internet; the hub's client would wait for each of its
    own time limits."""
    if why_unreachable(endpoint, (settings.connect_timeout_s, settings.read_timeout_s)):
        raise AssetError(f"{endpoint}: cannot be reached; without internet, name a local folder")


def _move_checked(repo_id: str, siblings: "list[RepoSibling]", partial: Path, target: Path) -> None:
    """Move the files that the hub lists to `target`, each checked against the size and SHA-256
    listed."""
    listed = {sibling.rfilename: sibling for sibling in siblings}
    names = _wanted(list(listed))
    _check_names(repo_id, names)
    for name in names:
        _check_file(repo_id, partial / name, listed[name])
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial / name, target / name)
    shutil.rmtree(partial)


def _check_file(repo_id: str, path: Path, listed: "RepoSibling") -> None:
    size_differs = listed.size is not None and (
        not path.is_file() or path.stat().st_size != listed.size
    )
    sha256 = listed.lfs.sha256 if listed.lfs else None
    if size_differs or (sha256 and file_sha256(path) != sha256):
        path.unlink(missing_ok=True)
        raise AssetError(
            f"{repo_id}: {listed.rfilename} came cut short or corrupt; it is deleted, run again"
        )


def _wanted(names: list[str]) -> list[str]:
    from huggingface_hub.utils import filter_repo_objects

    return list(filter_repo_objects(names, allow_patterns=WANTED, ignore_patterns=UNWANTED))


def _check_names(repo_id: str, names: list[str]) -> None:
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise AssetError(
            f"{repo_id}: holds no config.json with safetensors weights; pickled ones are not loaded"
        )


def _from_local_cache(repo_id: str, target: Path) -> str:
    from huggingface_hub import snapshot_download

    snapshot = Path(
        snapshot_download(
            repo_id, local_files_only=True, allow_patterns=WANTED, ignore_patterns=UNWANTED
        )
    )
    found = [
        path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()
    ]
    names = _wanted(found)
    _check_names(repo_id, names)
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(snapshot / name, target / name)
    return snapshot.name
