"""What a night needs, looked at before Ray is started: the salt of its traces, and the models, also
those to be trained."""

from datetime import date

from dualrec.assets.nodes import ModelPlace
from dualrec.cluster.tracking import check_tracking
from dualrec.config.settings import Settings
from dualrec.data.pseudonyms import salt_of
from dualrec.language.checks import NO_TITLES, check_serving_settings, check_tuning, model_to_tune
from dualrec.nightly.active_models import training_is_due
from dualrec.nightly.plan import last_plan
from dualrec.storage.workspace import Workspace


def check_night(
    workspace: Workspace, settings: Settings, run_date: date, force: bool
) -> list[ModelPlace]:
    """Check what a night needs; nobody is asked at an endpoint, since there may be nothing to ask.

    Returns:
        The models that are not on this machine, where models are trained first; else none, since
        they may not be needed.

    Raises:
        SettingsError: a setting does not suit the model, or the variable of the traces' salt holds
            none.
        AssetError, EndpointError, InputError: a model cannot be had, served or fine-tuned.
    """
    salt_of(settings.recommend.trace_salt_env)
    elsewhere = check_serving_settings(settings, NO_TITLES)
    goes_on = last_plan(workspace, run_date) is not None and not force
    if goes_on or not training_is_due(workspace, settings, run_date):
        return []
    check_tracking(settings.tracking)
    if settings.language.tuned == "current" and not check_tuning(settings, NO_TITLES):
        elsewhere.append(model_to_tune(settings)[1])
    return elsewhere
