"""Chooses the models of a run: the newest complete set trained with these settings, or one trained
now where that is due. Knows no histories and no lists."""

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


def select_models(
    workspace: Workspace, settings: Settings, run_date: date, console: Console
) -> str:
    """Return the data version whose models serve. Trains them first where that is due. Needs a Ray
    session.

    Models of an earlier run date serve as long as they were trained with the same settings,
    `data.until` apart.

    Raises:
        DualrecError: as the jobs prepare, train-sequence and finetune-language do.
    """
    newest = _newest_models(workspace, settings)
    reason = _training_reason(newest, settings, run_date)
    if reason is None and newest is not None:
        return newest[0]
    logger.info(f"training models on the data of {run_date}: {reason}")
    tuning = [finetune_language] if settings.language.tuned == "current" else []
    for step in (prepare, train_sequence, *tuning):
        step(settings).show(console)
    newest = _newest_models(workspace, settings)
    if newest is None:
        raise WorkspaceError(
            f"{workspace.uri} holds no models that serve with these settings, though they were "
            f"trained: is models/language/{settings.language.tuned} there, as language.tuned says?"
        )
    return newest[0]


def training_is_due(workspace: Workspace, settings: Settings, run_date: date) -> bool:
    """Say whether `select_models` would train."""
    return _training_reason(_newest_models(workspace, settings), settings, run_date) is not None


def _training_reason(
    newest: tuple[str, date] | None, settings: Settings, run_date: date
) -> str | None:
    """Say why models are to be trained now; None where the newest ones serve."""
    if newest is None:
        return "there are none that were trained with these settings"
    if settings.nightly.train:
        return "nightly.train requires it"
    age, limit = (run_date - newest[1]).days, settings.nightly.model_days
    if limit is not None and age >= limit:
        return f"the active ones are {age} days old, and nightly.model_days is {limit}"
    return None


def _newest_models(workspace: Workspace, settings: Settings) -> tuple[str, date] | None:
    """Return the data version of the newest complete set of models, and the day on which its
    sequence model was trained."""
    candidates = []
    for folder in workspace.folders("models/sequence"):
        name = f"models/sequence/{folder}"
        if workspace.has(name):
            description = workspace.description(name)
            if _serves(workspace, settings, name, description["data_version"]):
                candidates.append((description["made"], description["data_version"]))
    if not candidates:
        return None
    trained, data_version = max(candidates)
    return data_version, datetime.fromisoformat(trained).date()


def _serves(workspace: Workspace, settings: Settings, name: str, data_version: str) -> bool:
    """Say whether a sequence model, and the language model beside it, were trained with these
    settings."""
    if not workspace.has(f"catalog/{data_version}"):
        return False
    catalog = workspace.description(f"catalog/{data_version}")
    if catalog["method"] != preparing.METHOD:
        return False
    current = settings.data.model_dump(mode="json")
    if _lasting_settings(catalog["settings"]) != _lasting_settings(current):
        return False
    data = prepared_as(workspace, data_version)
    tuned = tuned_name(data, settings)
    return sequence_name(data, settings) == name and (tuned is None or workspace.has(tuned))


def _lasting_settings(data_settings: dict[str, object]) -> dict[str, object]:
    """Drop what changes from run to run, and what does not change the content."""
    passing = ("until", "shards", "block_mib")
    return {key: value for key, value in data_settings.items() if key not in passing}
