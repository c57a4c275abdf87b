"""Which weights are served: a model as it comes, or what fine-tuning made of it. Knows artefacts; no engine and no Ray."""

import json
from pathlib import Path

from dualrec.assets.places import copied
from dualrec.data.prepare import Prepared
from dualrec.errors import SettingsError
from dualrec.language.artefact import ADAPTER, MERGED, tuned_name
from dualrec.language.models import ServedModel, language_model
from dualrec.settings import Settings
from dualrec.workspace import Workspace


def served_model(workspace: Workspace, data: Prepared, settings: Settings) -> ServedModel:
    """The model that the settings name, on this machine.

    Raises:
        AssetError: the model cannot be had.
        WorkspaceError: it has not been fine-tuned, though `language.tuned` asks for that.
        SettingsError: it is served at an endpoint, which knows nothing of our fine-tuning.
    """
    name = tuned_name(data, settings)
    if name is None:
        return ServedModel(*language_model(settings.language.model, settings.cache))
    workspace.require(name, "finetune-language")
    preset, folder = language_model(settings.language.model, settings.cache)
    if folder is None:
        raise SettingsError(f"{settings.language.model} is served at an endpoint as it is: set language.tuned=null")
    if settings.language.serve == "merged":
        return ServedModel(preset, _here(workspace, f"{name}/{MERGED}", settings.cache))
    adapter = _here(workspace, f"{name}/{ADAPTER}", settings.cache)
    rank = json.loads((adapter / "adapter_config.json").read_text())["r"]
    return ServedModel(preset, folder, (adapter, int(rank)))


def _here(workspace: Workspace, name: str, cache: str) -> Path:
    return Path(workspace.path(name)) if workspace.is_local else copied(f"{workspace.uri}/{name}", cache)
