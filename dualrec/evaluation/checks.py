"""What `evaluate` needs of every system, looked at before Ray is started: what was fitted, others'
lists, the models."""

from collections.abc import Iterable

from dualrec.assets.here import folder_here
from dualrec.assets.nodes import ModelPlace
from dualrec.baselines.registry import PROMPTED_BASELINE, chosen_systems, is_prompted
from dualrec.config.settings import Settings
from dualrec.errors import SettingsError
from dualrec.evaluation.cases import Questions
from dualrec.evaluation.fitting import baseline_name
from dualrec.evaluation.language_systems import IN_FORCE, settings_of
from dualrec.evaluation.lists import read_lists
from dualrec.evaluation.scorers import sequence_models
from dualrec.language.checks import check_serving
from dualrec.language.models import language_model
from dualrec.language.rerank import check_encoder
from dualrec.sequence.artifact import sequence_name
from dualrec.storage.workspace import Workspace


def check_systems(workspace: Workspace, questions: Iterable[Questions]) -> list[ModelPlace]:
    """Check that every system can answer all questions.

    Returns:
        The models that are not on this machine.

    Raises:
        WorkspaceError: a baseline has not been fitted, or a model not trained.
        InputError: another system's lists are not what they should be.
        SettingsError: a baseline or a variant's setting is unknown, or a model cannot do what it
            should.
        AssetError, EndpointError: a model cannot be had.
    """
    elsewhere = []
    for question in questions:
        _check_scorers(workspace, question)
        if not question.before_a_moment:
            item_ids = question.data.catalog.column("item_id").to_numpy()
            for path in question.settings.evaluation.lists.values():
                read_lists(path, question.asked, item_ids, question.data.version)
        if question.settings.evaluation.language:
            elsewhere += _check_language_models(workspace, question)
    return elsewhere


def check_prompted(settings: Settings) -> list[ModelPlace]:
    """Check the model that the baseline NIR asks, as it comes.

    Returns:
        It, where it is not on this machine.

    Raises:
        SettingsError: it is served at an endpoint.
        AssetError: there is no such model.
    """
    _, place = language_model(settings)
    if place is None:
        raise SettingsError(
            f"baselines.systems: {PROMPTED_BASELINE} asks a language model whose weights can be had, and {settings.language.model} "
            f"is served at an endpoint: leave {PROMPTED_BASELINE} out, or name another language.model"
        )
    return [place] if folder_here(place) is None else []


def _check_scorers(workspace: Workspace, question: Questions) -> None:
    settings, data = question.settings, question.data
    for name in chosen_systems(settings.baselines.systems):
        workspace.require(baseline_name(name, data, settings), "fit-baselines")
    for own in sequence_models(settings).values():
        workspace.require(sequence_name(data, own), "train-sequence")
    check_encoder(workspace, data, settings)


def _check_language_models(workspace: Workspace, question: Questions) -> list[ModelPlace]:
    settings, data = question.settings, question.data
    elsewhere = []
    if is_prompted(settings.baselines.systems) and not question.before_a_moment:
        elsewhere += check_prompted(settings)
    variants = settings.evaluation.variants if question.variant_protocols else ()
    for variant in (IN_FORCE, *variants):
        elsewhere += check_serving(workspace, data, settings_of(settings, data, variant))
    return elsewhere
