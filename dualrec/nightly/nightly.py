"""The job `nightly`: score the users whose history changed, carry the other lists over, verify,
judge, publish and report.

A run is fixed by a plan before its first user is scored (plan.py), one driver works on it
(lease.py), what is scored is saved at once (staging.py), and one commit publishes it. Whatever
kills it, the same command resumes it.
"""

import logging
import time
from dataclasses import replace
from datetime import date
from typing import Any, NamedTuple

from dualrec.cluster.progress import log_progress
from dualrec.cluster.resources import cluster_gpus
from dualrec.cluster.session import ray_session
from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings
from dualrec.data.prepare import Prepared, prepared_as
from dualrec.errors import GateError
from dualrec.language.artifact import tuned_name
from dualrec.language.checks import check_on_a_node
from dualrec.nightly.changed_users import (
    UsersToServe,
    fingerprint_users,
    select_users,
    write_users,
)
from dualrec.nightly.gates import Gate, SnapshotMetrics, judge_gates
from dualrec.nightly.lease import Lease, earlier_spending, hold_lease
from dualrec.nightly.plan import Plan, check_nightly, latest_plan, load_or_create_plan
from dualrec.nightly.run_report import (
    actor_counts,
    snapshot_metrics,
    summarize_cost,
    summarize_run,
    write_report,
)
from dualrec.nightly.scoring import ScoringOutcome, SnapshotScorer, engine_work
from dualrec.nightly.staging import (
    ScoredUsers,
    attempt_folder,
    delete_expired,
    scored_folder,
    scored_so_far,
    take_over,
)
from dualrec.publishing.manifest import (
    LISTS,
    TRACES,
    USERS,
    Manifest,
    Snapshot,
    staging_folder,
)
from dualrec.publishing.publish import find_published_run, publish
from dualrec.publishing.verify import Verified, verify_lists
from dualrec.ranking.recommend import run_date_of
from dualrec.sequence.artifact import sequence_name
from dualrec.storage.workspace import Workspace

logger = logging.getLogger(__name__)


class StagedSnapshot(NamedTuple):
    """A snapshot that is written and verified, but not published."""

    verified: Verified
    outcome: ScoringOutcome
    overlap: float | None
    accuracy: float | None


class Stopwatch:
    """Measures the seconds of each part of a run, one after another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, part: str) -> None:
        """End a part, and begin the next."""
        now = time.monotonic()
        self.seconds[part], self._since = round(now - self._since, 2), now


def nightly(settings: Settings, force: bool = False) -> Summary:
    """Publish the snapshot of one run date, or say that it is published already.

    Args:
        force: score every user again, as another run, even if the run date is published.

    Raises:
        LeaseError: another driver works on this run date, or took it over from this one.
        GateError: the users were scored, but nothing was published; the active snapshot stays.
        PublishError: the snapshot is not whole, or another run was published since this one began.
        DualrecError: as the jobs that prepare, train and score do.
    """
    workspace, run_date = Workspace.of(settings), run_date_of(settings)
    if not force and (summary := _published_summary(workspace, run_date)):
        return summary
    elsewhere = check_nightly(workspace, settings, run_date, force)
    with hold_lease(workspace, run_date, settings.nightly.lease_seconds) as lease:
        # The driver that held the lease until now may have published meanwhile.
        if not force and (summary := _published_summary(workspace, run_date)):
            return summary
        with ray_session(settings.cluster):
            check_on_a_node(elsewhere)
            plan = load_or_create_plan(workspace, settings, run_date, force, lease)
            manifest = _score_and_publish(workspace, settings, plan, lease)
        workspace.remove(scored_folder(plan))
        delete_expired(workspace, settings.publish.retention_days, plan.histories)
        return summarize_run(workspace, manifest, "published")


def _published_summary(workspace: Workspace, run_date: date) -> Summary | None:
    """Summarize the last run of a run date where it is published; else None."""
    plan = latest_plan(workspace, run_date)
    if plan is None:
        return None
    manifest = find_published_run(workspace, run_date, plan.run_id)
    return summarize_run(workspace, manifest, "already published") if manifest else None


def _score_and_publish(
    workspace: Workspace, settings: Settings, plan: Plan, lease: Lease
) -> Manifest:
    """Do the work of a run, in order. The lease is checked before each step that others see."""
    data = replace(prepared_as(workspace, plan.data_version), histories=plan.histories)
    histories = data.read_histories(workspace, plan.split)
    to_serve = select_users(workspace, plan, fingerprint_users(histories, plan.run_date))
    scorer = SnapshotScorer(workspace, data, settings, histories, plan.run_date)
    stopwatch = Stopwatch()

    scored = _score(workspace, scorer, plan, to_serve, lease)
    stopwatch.lap("scoring")

    lease.check()
    staged = _stage(workspace, scorer, plan, to_serve, scored, lease.number)
    gates = judge_gates(_gate_metrics(to_serve, staged), settings.nightly.gates)
    metrics = snapshot_metrics(
        to_serve.to_score,
        to_serve.to_carry,
        to_serve.users.scored,
        staged.outcome,
        staged.overlap,
        staged.accuracy,
    )
    cost = _run_cost(workspace, settings, plan, lease, staged.outcome)
    stopwatch.lap("staging")

    lease.check()
    failed = [gate for gate in gates if gate.passed is False]
    if not failed:
        snapshot = _describe_snapshot(plan, staged.verified, data, settings, metrics, cost)
        manifest = publish(workspace, snapshot, plan.replaces, settings.publish).manifest
        stopwatch.lap("publishing")
    write_report(workspace, plan, not failed, metrics, gates, cost, stopwatch.seconds)
    if failed:
        raise _gate_error(plan, failed)
    return manifest


def _score(
    workspace: Workspace, scorer: SnapshotScorer, plan: Plan, to_serve: UsersToServe, lease: Lease
) -> ScoredUsers:
    """Score the users whom no earlier driver scored."""
    earlier = take_over(workspace, plan, lease.number)
    requests = scorer.missing_requests(to_serve.to_score, earlier)
    logger.info(
        f"run {plan.run_id} of {plan.run_date}: {len(to_serve.users):,} users, "
        f"{len(to_serve.to_carry):,} carried over, {len(earlier.ids('night')):,} scored by "
        f"earlier drivers, {requests.count() if requests else 0:,} requests to answer"
    )
    if requests is None:
        return earlier
    started = time.monotonic()
    with log_progress(requests.count(), "requests") as counter:

        def spending() -> dict[str, Any]:
            seconds = time.monotonic() - started
            return {"run": plan.run_id, "scoring_seconds": seconds, **engine_work(counter)}

        lease.spending = spending
        try:
            scorer.score(requests, attempt_folder(plan, lease.number), counter)
        finally:
            spent = spending()
            lease.spending = lambda: spent
    return scored_so_far(workspace, plan, lease.number)


def _stage(
    workspace: Workspace,
    scorer: SnapshotScorer,
    plan: Plan,
    to_serve: UsersToServe,
    scored: ScoredUsers,
    attempt: int,
) -> StagedSnapshot:
    """Write lists, traces and users, each where no reader looks before the commit, and verify."""
    run = f"{plan.run_id}-{attempt:04d}"
    lists = staging_folder(plan.run_date, run, LISTS)
    outcome = scorer.write_traces(scored, staging_folder(plan.run_date, run, TRACES))
    scorer.write_lists(scored, outcome.weight, to_serve.to_carry, to_serve.previous, lists)
    users = to_serve.users
    write_users(workspace, staging_folder(plan.run_date, run, USERS), users, outcome.failed)
    length = scorer.settings.ranking.length
    verified = verify_lists(workspace, lists, users.ids, plan.run_date, length)
    overlap = None
    if to_serve.previous is not None:
        overlap = scorer.overlap(to_serve.to_score, to_serve.previous, lists)
    return StagedSnapshot(verified, outcome, overlap, scorer.accuracy())


def _gate_metrics(to_serve: UsersToServe, staged: StagedSnapshot) -> SnapshotMetrics:
    titles, previous = staged.outcome.counts["titles"], to_serve.previous
    return SnapshotMetrics(
        users=staged.verified.users,
        users_before=previous.users if previous else None,
        scored=len(to_serve.to_score),
        errors=staged.outcome.counts["errors"],
        titles=sum(titles.values()),
        resolved=titles["exact"] + titles["fuzzy"],
        overlap=staged.overlap,
        accuracy=staged.accuracy,
        accuracy_before=previous.metrics.get("calibration_ndcg_at_10") if previous else None,
    )


def _run_cost(
    workspace: Workspace, settings: Settings, plan: Plan, lease: Lease, outcome: ScoringOutcome
) -> dict[str, Any]:
    """Sum up what this run cost, over all its attempts."""
    spent = [*earlier_spending(workspace, plan.run_date, lease.number), lease.spending()]
    return summarize_cost(
        [attempt for attempt in spent if attempt.get("run") == plan.run_id],
        outcome.counts["prompt_tokens"],
        outcome.counts["generated_tokens"],
        actor_counts(settings, cluster_gpus()),
        settings.nightly.prices,
    )


def _describe_snapshot(
    plan: Plan,
    verified: Verified,
    data: Prepared,
    settings: Settings,
    metrics: dict[str, Any],
    cost: dict[str, Any],
) -> Snapshot:
    return Snapshot(
        run_date=plan.run_date,
        run_id=plan.run_id,
        users=verified.users,
        rows=verified.rows,
        files=verified.files,
        models={
            "sequence": sequence_name(data, settings),
            "language": tuned_name(data, settings) or settings.language.model,
            "data": data.version,
            "histories": plan.histories,
        },
        settings_hash=plan.settings_hash,
        metrics=metrics,
        cost=cost,
    )


def _gate_error(plan: Plan, failed: list[Gate]) -> GateError:
    lines = "\n  ".join(f"{gate.name}: {gate.describe()}: FAILED" for gate in failed)
    return GateError(
        f"{plan.run_date}: run {plan.run_id} was not published, the active snapshot stays:\n  "
        f"{lines}\n"
        "What was scored is saved: fix the cause and score again with --force, or, to publish it "
        "as it is, loosen the gate with --set nightly.gates.NAME=VALUE and run the same command "
        "again"
    )
