"""Check all steps of a command before the first one starts, from settings and models alone."""

from collections.abc import Sequence

from dualrec.assets.nodes import ModelPlace
from dualrec.baselines.registry import chosen_systems, is_prompted
from dualrec.cluster.tracking import check_tracking
from dualrec.config.settings import Settings
from dualrec.data.catalog import titles_of
from dualrec.data.prepare import Prepared, prepared
from dualrec.data.pseudonyms import salt_of
from dualrec.errors import WorkspaceError
from dualrec.evaluation.cases import check_what_the_moment_hides
from dualrec.evaluation.checks import check_prompted
from dualrec.evaluation.evaluate import report_name
from dualrec.evaluation.language_systems import changed
from dualrec.language.artifact import language_name
from dualrec.language.checks import NO_TITLES, check_serving_settings, check_tuning, model_to_tune
from dualrec.language.examples import check_example_counts
from dualrec.storage.workspace import Workspace


def check_steps(
    settings: Settings, tuned: Sequence[Settings], serves: bool, force: bool
) -> list[ModelPlace]:
    """Check what each step whose result is missing will need.

    Args:
        tuned: the settings under which a language model is fine-tuned.
        serves: whether the language model writes lists, whatever is measured.
        force: whether steps run again whose result is there.

    Returns:
        The models that are not on this machine.

    Raises:
        SettingsError, AssetError, InputError, EndpointError: as the steps would, minutes later.
    """
    check_tracking(settings.tracking)
    salt_of(settings.recommend.trace_salt_env)
    systems = settings.baselines.systems
    chosen_systems(systems)
    workspace = Workspace.of(settings)
    data = _prepared_or_none(workspace, settings)
    if not force and data is not None and workspace.has(report_name(data, settings)):
        return []  # everything that the last step needs is there
    if "time_split" in settings.evaluation.protocols:
        check_what_the_moment_hides(settings)
    elsewhere = (
        check_prompted(settings) if settings.evaluation.language and is_prompted(systems) else []
    )
    served = [settings] if serves or settings.evaluation.language else []
    for own in (*served, *_variants(settings)):
        elsewhere += check_serving_settings(own, NO_TITLES)
    for own in tuned:
        if force or data is None or not workspace.has(language_name(data, own)):
            known = check_tuning(own, NO_TITLES)
            elsewhere += [] if known else [model_to_tune(own)[1]]
    return elsewhere


def check_prepared(settings: Settings, tuned: Sequence[Settings], force: bool) -> None:
    """Check, once histories are prepared, that examples suffice and that prompts fit the titles.

    Raises:
        SettingsError, AssetError, InputError: as finetune-language would, after the sequence model
            is trained.
    """
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    for own in tuned:
        if force or not workspace.has(language_name(data, own)):
            check_tuning(own, titles_of(data.catalog))
            check_example_counts(workspace, data, own)


def _variants(settings: Settings) -> list[Settings]:
    """The settings of the variants that are measured."""
    if not settings.evaluation.language:
        return []
    return [changed(settings, variant, variant.set) for variant in settings.evaluation.variants]


def _prepared_or_none(workspace: Workspace, settings: Settings) -> Prepared | None:
    try:
        return prepared(workspace, settings)
    except WorkspaceError:
        return None
