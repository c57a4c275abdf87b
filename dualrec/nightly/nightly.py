"""The job `nightly`: prepare what is new, score it, carry the rest over, verify, judge, publish and
report.

A run is fixed by a plan before its first user is scored (plan.py), one driver works on it
(lease.py), what is scored stays (staging.py), and one commit publishes it. Whatever kills it, the
same command goes on where it stopped.
"""

import logging
import time
from dataclasses import replace
from datetime import date
from typing import Any, NamedTuple

import numpy as np

from dualrec.cluster.progress import log_progress
from dualrec.cluster.resources import cluster_gpus
from dualrec.cluster.session import ray_session
from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings
from dualrec.data.prepare import Prepared, prepared_as
from dualrec.errors import GateError
from dualrec.language.artifact import tuned_name
from dualrec.language.checks import check_on_a_node
from dualrec.nightly.changed_users import Users, carried_over, read_users, users_of, write_users
from dualrec.nightly.checks import check_night
from dualrec.nightly.cost import cost_of, replicas
from dualrec.nightly.gates import Gate, Measured, judge
from dualrec.nightly.lease import Lease, held, spent_before
from dualrec.nightly.plan import Plan, last_plan
from dualrec.nightly.planning import plan_of
from dualrec.nightly.report import metrics_of, summary_of, write_report
from dualrec.nightly.retention import forget
from dualrec.nightly.scoring import NightScorer, Outcome, engine_work
from dualrec.nightly.staging import Scored, attempt_folder, scored_folder, scored_so_far, take_over
from dualrec.publishing.manifest import (
    LISTS,
    TRACES,
    USERS,
    Manifest,
    Night,
    night_folder,
    read_manifest,
)
from dualrec.publishing.publish import publish, standing_run
from dualrec.publishing.verify import Verified, verify_lists
from dualrec.ranking.recommend import night_of
from dualrec.sequence.artifact import sequence_name
from dualrec.storage.workspace import Workspace

logger = logging.getLogger(__name__)


class Work(NamedTuple):
    """Whom a run serves: `carried` is bool (n,), a place for each of `users`; `before` is the night
    before."""

    users: Users
    carried: np.ndarray
    before: Manifest | None

    def ids(self, carried: bool) -> np.ndarray:
        """The users who are carried over, or those to be scored: int64."""
        return self.users.ids[self.carried == carried]


class Staged(NamedTuple):
    """A night that is written, and not yet published."""

    verified: Verified
    outcome: Outcome
    overlap: float | None
    accuracy: float | None


class Clock:
    """Seconds of each part of a run, one after another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, part: str) -> None:
        """A part ends here, and the next begins."""
        now = time.monotonic()
        self.seconds[part], self._since = round(now - self._since, 2), now


def nightly(settings: Settings, force: bool = False) -> Summary:
    """Publish the lists of one night, or say that it is done.

    Args:
        force: score every user again, as another run, whatever stands.

    Raises:
        LeaseError: another driver is at work on this night, or took it over from this one.
        GateError: the night was scored but not published; the night before stands.
        PublishError: it is not whole, or another run was published since this one began.
        DualrecError: as the jobs that prepare, train and score do.
    """
    workspace, run_date = Workspace.of(settings), night_of(settings)
    if not force and (done := _done(workspace, run_date)):
        return done
    elsewhere = check_night(workspace, settings, run_date, force)
    with held(workspace, run_date, settings.nightly.lease_seconds) as lease:
        if not force and (
            done := _done(workspace, run_date)
        ):  # by the driver that held the lease until now
            return done
        with ray_session(settings.cluster):
            check_on_a_node(elsewhere)
            plan = plan_of(workspace, settings, run_date, force, lease)
            manifest = _run(workspace, settings, plan, lease)
        workspace.remove(scored_folder(plan))
        forget(workspace, settings.publish.retention_days, plan.histories)
        return summary_of(workspace, manifest, "published")


def _done(workspace: Workspace, run_date: date) -> Summary | None:
    plan = last_plan(workspace, run_date)
    standing = plan and standing_run(workspace, run_date, plan.run_id)
    return summary_of(workspace, standing, "already published") if standing else None


def _run(workspace: Workspace, settings: Settings, plan: Plan, lease: Lease) -> Manifest:
    data = replace(prepared_as(workspace, plan.data_version), histories=plan.histories)
    histories = data.read_histories(workspace, plan.split)
    work = _work(workspace, plan, users_of(histories, plan.run_date))
    scorer = NightScorer(workspace, data, settings, histories, plan.run_date)
    clock = Clock()
    scored = _score(workspace, scorer, plan, work, lease)
    clock.lap("scoring")
    lease.check()
    staged = _stage(workspace, scorer, plan, work, scored, lease.number)
    gates = judge(_measured(work, staged), settings.nightly.gates)
    metrics = metrics_of(
        work.ids(carried=False), work.ids(carried=True), work.users.scored, *staged[1:]
    )
    cost = _cost(workspace, settings, plan, lease, staged.outcome)
    clock.lap("staging")
    lease.check()
    failed = [gate for gate in gates if gate.passed is False]
    if not failed:
        night = _night(plan, staged.verified, data, settings, metrics, cost)
        manifest = publish(workspace, night, plan.replaces, settings.publish).manifest
        clock.lap("publishing")
    write_report(workspace, plan, not failed, metrics, gates, cost, clock.seconds)
    if failed:
        raise _kept_back(plan, failed)
    return manifest


def _cost(
    workspace: Workspace, settings: Settings, plan: Plan, lease: Lease, outcome: Outcome
) -> dict[str, Any]:
    """What this run cost, in all its attempts."""
    spent = [*spent_before(workspace, plan.run_date, lease.number), lease.spending()]
    own = [one for one in spent if one.get("run") == plan.run_id]
    held = replicas(settings, cluster_gpus())
    return cost_of(
        own,
        outcome.did["prompt_tokens"],
        outcome.did["generated_tokens"],
        held,
        settings.nightly.prices,
    )


def _work(workspace: Workspace, plan: Plan, users: Users) -> Work:
    if plan.before is None:
        return Work(users, np.zeros(len(users), bool), None)
    before = read_manifest(workspace, plan.before.run_date, plan.before.number)
    if not plan.carries:
        return Work(users, np.zeros(len(users), bool), before)
    carried, users = carried_over(users, read_users(workspace, before))
    return Work(users, carried, before)


def _score(
    workspace: Workspace, scorer: NightScorer, plan: Plan, work: Work, lease: Lease
) -> Scored:
    """Score whom no earlier driver scored."""
    before = take_over(workspace, plan, lease.number)
    requests = scorer.missing(work.ids(carried=False), before)
    logger.info(
        f"run {plan.run_id} of {plan.run_date}: {len(work.users):,} users, {int(work.carried.sum()):,} carried over, "
        f"{len(before.of('night')):,} scored by earlier drivers, {requests.count() if requests else 0:,} requests to answer"
    )
    if requests is None:
        return before
    started = time.monotonic()
    with log_progress(requests.count(), "requests") as counter:

        def spending() -> dict[str, Any]:
            return {
                "run": plan.run_id,
                "scoring_seconds": time.monotonic() - started,
                **engine_work(counter),
            }

        lease.spending = spending
        try:
            scorer.score(requests, attempt_folder(plan, lease.number), counter)
        finally:
            spent = spending()
            lease.spending = lambda: spent
    return scored_so_far(workspace, plan, lease.number)


def _stage(
    workspace: Workspace, scorer: NightScorer, plan: Plan, work: Work, scored: Scored, attempt: int
) -> Staged:
    """Write lists, traces and users of the night, each where no reader looks before the commit."""
    lists, traces, kept = (
        night_folder(plan.run_date, f"{plan.run_id}-{attempt:04d}", table)
        for table in (LISTS, TRACES, USERS)
    )
    outcome = scorer.write_traces(scored, traces)
    scorer.write_lists(scored, outcome.weight, work.ids(carried=True), work.before, lists)
    write_users(workspace, kept, work.users, outcome.failed)
    verified = verify_lists(
        workspace, lists, work.users.ids, plan.run_date, scorer.settings.ranking.length
    )
    overlap = (
        None if work.before is None else scorer.overlap(work.ids(carried=False), work.before, lists)
    )
    return Staged(verified, outcome, overlap, scorer.accuracy())


def _measured(work: Work, staged: Staged) -> Measured:
    titles, before = staged.outcome.did["titles"], work.before
    return Measured(
        users=staged.verified.users,
        users_before=None if before is None else before.users,
        scored=int((~work.carried).sum()),
        errors=staged.outcome.did["errors"],
        titles=sum(titles.values()),
        resolved=titles["exact"] + titles["fuzzy"],
        overlap=staged.overlap,
        accuracy=staged.accuracy,
        accuracy_before=None if before is None else before.metrics.get("calibration_ndcg_at_10"),
    )


def _night(
    plan: Plan,
    verified: Verified,
    data: Prepared,
    settings: Settings,
    metrics: dict[str, Any],
    cost: dict[str, Any],
) -> Night:
    language = tuned_name(data, settings) or settings.language.model
    return Night(
        run_date=plan.run_date,
        run_id=plan.run_id,
        users=verified.users,
        rows=verified.rows,
        files=verified.files,
        models={
            "sequence": sequence_name(data, settings),
            "language": language,
            "data": data.version,
            "histories": plan.histories,
        },
        settings_hash=plan.settings_hash,
        metrics=metrics,
        cost=cost,
    )


def _kept_back(plan: Plan, failed: list[Gate]) -> GateError:
    lines = "\n  ".join(f"{gate.name}: {gate.line()}" for gate in failed)
    return GateError(
        f"{plan.run_date}: run {plan.run_id} was not published, what stands is as it was:\n  {lines}\n"
        "What was scored stays: mend the cause and score anew with --force, or, to publish it as it is, loosen the gate "
        "with --set nightly.gates.NAME=VALUE and run the same command again"
    )
