"""The plan of a run: the one that was begun, or a new one, once models and histories for it are
there."""

import logging
from datetime import date

from rich.console import Console

from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared, prepare_for_models, prepared_as
from dualrec.errors import SettingsError
from dualrec.nightly.active_models import models_for
from dualrec.nightly.lease import Lease
from dualrec.nightly.plan import Plan, Publication, last_plan, write_plan
from dualrec.publishing.manifest import last_standing
from dualrec.publishing.publish import publications
from dualrec.ranking import lists as ranking
from dualrec.scoring.pipeline import scoring_version
from dualrec.storage.workspace import Workspace

logger = logging.getLogger(__name__)


def plan_of(
    workspace: Workspace, settings: Settings, run_date: date, force: bool, lease: Lease
) -> Plan:
    """The run to work on. Trains models first where that is due. Needs a Ray session.

    Args:
        force: begin another run, in which every user is scored.

    Raises:
        SettingsError: the run was begun with other settings.
        DualrecError: as the jobs that prepare and train do.
    """
    begun = last_plan(workspace, run_date)
    if begun is not None and not force:
        _check_settings(workspace, settings, begun)
        logger.info(f"going on with run {begun.run_id} of {run_date}")
        return begun
    data = prepare_for_models(settings, models_for(workspace, settings, run_date, Console()))
    settings_hash, before = lists_version(data, settings), last_standing(workspace, before=run_date)
    plan = Plan(
        run_date=run_date,
        number=1 if begun is None else begun.number + 1,
        settings_hash=settings_hash,
        data_version=data.version,
        histories=data.histories,
        split=settings.recommend.split,
        before=None
        if before is None
        else Publication(run_date=before.run_date, number=before.number),
        carries=before is not None and before.settings_hash == settings_hash and not force,
        replaces=publications(workspace, run_date),
    )
    lease.check()
    write_plan(workspace, plan)
    return plan


def lists_version(data: Prepared, settings: Settings) -> str:
    """What lists rest on but the histories: models, prompts, decoding and ranking."""
    return version_of(ranking.METHOD, scoring_version(data, settings), settings.ranking)


def _check_settings(workspace: Workspace, settings: Settings, begun: Plan) -> None:
    now = (
        lists_version(prepared_as(workspace, begun.data_version), settings),
        settings.recommend.split,
    )
    if now != (begun.settings_hash, begun.split):
        raise SettingsError(
            f"{begun.run_date}: run {begun.run_id} was begun with other settings of models, prompts, ranking or users: go on "
            "with those, or begin another run with these by --force, which scores every user again"
        )
