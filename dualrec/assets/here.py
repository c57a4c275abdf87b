"""Whether a model is on this machine already, so that it can be looked at before anything is
started. Downloads nothing."""

from pathlib import Path

from dualrec.assets.cache import is_whole
from dualrec.assets.nodes import ModelPlace
from dualrec.assets.registry import MODELS


def folder_here(place: ModelPlace) -> Path | None:
    """The folder of a model on this machine; None where it has to be downloaded, copied or unpacked
    first.

    Raises:
        AssetError: it names neither a known model nor a folder or zip of this machine, or it is not
            what a model should be.
    """
    if place.source in MODELS:
        return place.folder() if is_whole(Path(place.cache).expanduser() / place.source) else None
    path = Path(place.source).expanduser()
    if place.source.startswith("s3://") or (path.is_file() and path.suffix.lower() == ".zip"):
        return None
    return place.folder()
