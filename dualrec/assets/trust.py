"""Model folders come from others: what is looked at before a loader sees one, and what loaders are
told.

Nothing in a folder is run: weights are safetensors, and a model that brings Python of its own is
refused, not asked about.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dualrec.errors import AssetError

# Left to itself, transformers asks on the terminal whether to run a folder's code.
NO_CODE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
NO_CODE_NO_PICKLE: dict[str, Any] = {**NO_CODE, "use_safetensors": True}

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_ENCODER_PARTS = "sentence_transformers."


def check_model_folder(folder: Path) -> None:
    """Look at the files of a model without loading it.

    Raises:
        AssetError: its weights are pickled, it cannot be loaded without code of its own, or a file
            is no JSON.
    """
    pickled = [path.name for pattern in _PICKLES for path in folder.glob(pattern)]
    if pickled and not any(folder.rglob("*.safetensors")):
        raise AssetError(
            f"{folder}: its weights are pickled ({', '.join(sorted(pickled)[:3])}), and a pickle can run any code: "
            "convert them to safetensors where you trust them, or take a model that has them"
        )
    config, parts = _json(folder / "config.json", dict), _json(folder / "modules.json", list)
    kind = config.get("model_type")
    if config.get("auto_map") and not _is_known(kind):
        raise _brings_code(folder, f"config.json maps the unknown model type {kind!r} to it")
    for part in parts:
        name = str(part.get("type")) if isinstance(part, dict) else str(part)
        if not name.startswith(_ENCODER_PARTS):
            raise _brings_code(folder, f"modules.json names {name!r}")


@contextmanager
def loading(folder: str | Path) -> Iterator[None]:
    """Tell plainly that a loader found no way but to run a folder's own code.

    Raises:
        AssetError: in place of the loader's own error, whose advice is to run it.
    """
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise _brings_code(folder, "its settings map classes to it") from error


def _is_known(kind: object) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return kind in CONFIG_MAPPING_NAMES


def _brings_code(folder: str | Path, where: str) -> AssetError:
    return AssetError(
        f"{folder}: this model needs Python code that comes with it ({where}), and such code is never run: take a model "
        "whose architecture transformers itself knows"
    )


def _json(path: Path, kind: type[Any]) -> Any:
    """What a file holds; nothing where it is not there."""
    if not path.is_file():
        return kind()
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise AssetError(f"{path} is no JSON ({error}): get the model again") from error
    if not isinstance(found, kind):
        raise AssetError(
            f"{path}: expected a JSON {kind.__name__}, found a {type(found).__name__}: get the model again"
        )
    return found
