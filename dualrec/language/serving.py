"""Which weights are served: a model as it comes, or what fine-tuning made of it. Knows artifacts;
no engine and no Ray."""

from dualrec.assets.nodes import ModelPlace
from dualrec.config.settings import Settings
from dualrec.data.prepare import Prepared
from dualrec.language.artifact import MERGED, tuned_name
from dualrec.language.models import ServedModel, check_tuned, language_model
from dualrec.storage.workspace import Workspace


def served_model(workspace: Workspace, data: Prepared, settings: Settings) -> ServedModel:
    """The model that the settings name.

    Raises:
        WorkspaceError: it has not been fine-tuned, though `language.tuned` asks for that.
        SettingsError: it is served at an endpoint, which knows nothing of our fine-tuning.
    """
    name = tuned_name(data, settings)
    if name is None:
        return ServedModel(*language_model(settings))
    check_tuned(settings)
    workspace.require(name, "finetune-language")
    preset, place = language_model(settings)
    assert place is not None, "an endpoint serves no model of ours"
    merged = f"{workspace.content(name)}/{MERGED}"
    source = workspace.path(merged) if workspace.is_local else f"{workspace.uri}/{merged}"
    return ServedModel(preset, ModelPlace.named(source, settings))
