"""What a run of the nightly job will do: checks before Ray is started, and the plan.

A plan is fixed by the first driver of a run, so that every later driver continues the same work:

nightly/run_date=D/
    plans/NUMBER.json       one run each; the last one counts, and --force begins another
    attempts/NUMBER.json    one driver each (lease.py)
    scored-RUN/             the traces that were scored so far (staging.py)
"""

import logging
from datetime import date

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from dualrec.assets.nodes import ModelPlace
from dualrec.cluster.tracking import check_tracking
from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared, prepare_for_models, prepared_as
from dualrec.data.pseudonyms import salt_of
from dualrec.errors import SettingsError, WorkspaceError
from dualrec.language.checks import NO_TITLES, check_serving_settings, check_tuning, model_to_tune
from dualrec.nightly.active_models import select_models, training_is_due
from dualrec.nightly.lease import Lease, numbered_files, state_folder
from dualrec.publishing.manifest import latest_manifest
from dualrec.publishing.publish import publication_count
from dualrec.ranking import lists as ranking
from dualrec.scoring.pipeline import scoring_version
from dualrec.storage.workspace import Workspace

logger = logging.getLogger(__name__)


class SnapshotNumber(BaseModel):
    """Names a published snapshot: its run date, and the number of its manifest."""

    model_config = ConfigDict(frozen=True)

    run_date: date
    number: int


class Plan(BaseModel):
    """A run.

    Attributes:
        number: counts the runs of this date from 1.
        run_id: its name, in the published table and everywhere.
        settings_hash: what its lists depend on apart from the histories: in two snapshots of one
            hash, a user with an unchanged history has the same list.
        data_version: of the data that its models were trained on.
        histories: the artifact with the histories to be served.
        split: which users are served.
        previous: the snapshot of the run date before; None where there is none.
        carries: whether users with an unchanged history keep their list of that snapshot.
        replaces: how often this date was published when the run began.
    """

    model_config = ConfigDict(frozen=True)

    run_date: date
    number: int
    settings_hash: str
    data_version: str
    histories: str
    split: str
    previous: SnapshotNumber | None
    carries: bool
    replaces: int

    @property
    def run_id(self) -> str:
        """Return the run's name: letters, digits and -."""
        return f"{self.number:04d}-{self.settings_hash}"


def check_nightly(
    workspace: Workspace, settings: Settings, run_date: date, force: bool
) -> list[ModelPlace]:
    """Check what a run needs: the salt of its traces, and its models, also those to be trained.

    No request goes to an endpoint, since there may be nothing to score.

    Returns:
        The models that are not on this machine, where models are trained first; else none, since
        they may not be needed.

    Raises:
        SettingsError: a setting does not suit the model, or the variable of the traces' salt is
            not set.
        AssetError, EndpointError, InputError: a model cannot be had, served or fine-tuned.
    """
    salt_of(settings.recommend.trace_salt_env)
    elsewhere = check_serving_settings(settings, NO_TITLES)
    resumes = latest_plan(workspace, run_date) is not None and not force
    if resumes or not training_is_due(workspace, settings, run_date):
        return []
    check_tracking(settings.tracking)
    if settings.language.tuned == "current" and not check_tuning(settings, NO_TITLES):
        elsewhere.append(model_to_tune(settings)[1])
    return elsewhere


def load_or_create_plan(
    workspace: Workspace, settings: Settings, run_date: date, force: bool, lease: Lease
) -> Plan:
    """Return the run to work on. Trains models first where that is due. Needs a Ray session.

    Args:
        force: begin another run, in which every user is scored.

    Raises:
        SettingsError: the run was begun with other settings.
        DualrecError: as the jobs that prepare and train do.
    """
    begun = latest_plan(workspace, run_date)
    if begun is not None and not force:
        _check_settings(workspace, settings, begun)
        logger.info(f"resuming run {begun.run_id} of {run_date}")
        return begun
    data_version = select_models(workspace, settings, run_date, Console())
    data = prepare_for_models(settings, data_version)
    settings_hash = lists_version(data, settings)
    manifest = latest_manifest(workspace, before=run_date)
    previous = None
    if manifest is not None:
        previous = SnapshotNumber(run_date=manifest.run_date, number=manifest.number)
    plan = Plan(
        run_date=run_date,
        number=1 if begun is None else begun.number + 1,
        settings_hash=settings_hash,
        data_version=data.version,
        histories=data.histories,
        split=settings.recommend.split,
        previous=previous,
        carries=manifest is not None and manifest.settings_hash == settings_hash and not force,
        replaces=publication_count(workspace, run_date),
    )
    lease.check()
    write_plan(workspace, plan)
    return plan


def latest_plan(workspace: Workspace, run_date: date) -> Plan | None:
    """Return the plan that counts for a run date; None where no run was begun.

    Raises:
        WorkspaceError: it cannot be read.
    """
    plans = numbered_files(workspace, f"{state_folder(run_date)}/plans")
    if not plans:
        return None
    try:
        return Plan.model_validate_json(workspace.read_bytes(plans[-1].name))
    except ValidationError as error:
        raise WorkspaceError(
            f"{workspace.uri}/{plans[-1].name} is no plan of a run: delete it, "
            "and run the job again"
        ) from error


def write_plan(workspace: Workspace, plan: Plan) -> None:
    """Fix a run.

    Raises:
        WorkspaceError: it cannot be written, or another run has its number.
    """
    name = f"{state_folder(plan.run_date)}/plans/{plan.number:04d}.json"
    if not workspace.put_once(name, plan.model_dump_json(indent=2).encode()):
        raise WorkspaceError(
            f"{workspace.uri}/{name} was written by another driver at this moment: "
            "run the job again"
        )


def lists_version(data: Prepared, settings: Settings) -> str:
    """Hash what lists depend on apart from the histories: models, prompts, decoding, ranking."""
    return version_of(ranking.METHOD, scoring_version(data, settings), settings.ranking)


def _check_settings(workspace: Workspace, settings: Settings, begun: Plan) -> None:
    data = prepared_as(workspace, begun.data_version)
    current = (lists_version(data, settings), settings.recommend.split)
    if current != (begun.settings_hash, begun.split):
        raise SettingsError(
            f"{begun.run_date}: run {begun.run_id} was begun with other settings of models, "
            "prompts, ranking or users: continue with those, or begin another run with these by "
            "--force, which scores every user again"
        )
