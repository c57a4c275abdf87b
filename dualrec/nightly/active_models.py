"""Which models serve a night: the newest whole set that these settings made, or one trained now
where that is due."""

import logging
from datetime import date, datetime

from rich.console import Console

from dualrec.config.settings import Settings
from dualrec.data import prepare as preparing
from dualrec.data.prepare import prepare, prepared_as
from dualrec.errors import WorkspaceError
from dualrec.language.artifact import tuned_name
from dualrec.language.finetune import finetune_language
from dualrec.sequence.artifact import sequence_name
from dualrec.sequence.train import train_sequence
from dualrec.storage.workspace import Workspace

logger = logging.getLogger(__name__)


def models_for(workspace: Workspace, settings: Settings, run_date: date, console: Console) -> str:
    """The data version whose models serve this night. Trains them first where that is due. Needs a
    Ray session.

    Models of another night serve this one as long as they were made with the same settings, the
    data's moment apart.

    Raises:
        DualrecError: as the jobs prepare, train-sequence and finetune-language do.
    """
    found = _newest(workspace, settings)
    due = _why_due(found, settings, run_date)
    if due is None and found is not None:
        return found[0]
    logger.info(f"training models on this night's data: {due}")
    tuning = [finetune_language] if settings.language.tuned == "current" else []
    for step in (prepare, train_sequence, *tuning):
        step(settings).show(console)
    found = _newest(workspace, settings)
    if found is None:
        raise WorkspaceError(
            f"{workspace.uri} holds no models that serve with these settings, though they were trained: "
            f"is models/language/{settings.language.tuned} there, as language.tuned says?"
        )
    return found[0]


def training_is_due(workspace: Workspace, settings: Settings, run_date: date) -> bool:
    """Whether models_for would train."""
    return _why_due(_newest(workspace, settings), settings, run_date) is not None


def _why_due(found: tuple[str, date] | None, settings: Settings, run_date: date) -> str | None:
    own = settings.nightly
    if found is None:
        return "there are none that were made with these settings"
    if own.train:
        return "nightly.train asks for it"
    age = (run_date - found[1]).days
    if own.model_days is not None and age >= own.model_days:
        return f"those in force are {age} days old, and nightly.model_days is {own.model_days}"
    return None


def _newest(workspace: Workspace, settings: Settings) -> tuple[str, date] | None:
    """The data version of the newest whole set of models, and the day on which its sequence model
    was made."""
    found = []
    for folder in workspace.folders("models/sequence"):
        name = f"models/sequence/{folder}"
        if workspace.has(name):
            described = workspace.description(name)
            if _serves(workspace, settings, name, described["data_version"]):
                found.append((described["made"], described["data_version"]))
    if not found:
        return None
    made, data_version = max(found)
    return data_version, datetime.fromisoformat(made).date()


def _serves(workspace: Workspace, settings: Settings, name: str, data_version: str) -> bool:
    if not workspace.has(f"catalog/{data_version}"):
        return False
    catalog = workspace.description(f"catalog/{data_version}")
    if catalog["method"] != preparing.METHOD:
        return False
    if _but_the_moment(catalog["settings"]) != _but_the_moment(
        settings.data.model_dump(mode="json")
    ):
        return False
    data = prepared_as(workspace, data_version)
    tuned = tuned_name(data, settings)
    return sequence_name(data, settings) == name and (tuned is None or workspace.has(tuned))


def _but_the_moment(data_settings: dict[str, object]) -> dict[str, object]:
    return {
        key: value
        for key, value in data_settings.items()
        if key not in ("until", "shards", "block_mib")
    }
