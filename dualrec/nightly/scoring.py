"""The Ray work of a run: scores the users who are left, then writes traces and lists, new ones and
those carried over. Knows no plan, no lease and no commit."""

from datetime import date
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from ray.actor import ActorHandle

from dualrec.config.settings import Settings
from dualrec.data.prepare import Prepared
from dualrec.data.pseudonyms import salt_of
from dualrec.data.requests import Decoding, made_for, night_requests
from dualrec.nightly.staging import ScoredUsers
from dualrec.publishing.manifest import Manifest, published_paths
from dualrec.ranking.fusion import (
    PURPOSE,
    calibration_requests,
    fused_weight,
    fusion_name,
    traces_for,
)
from dualrec.ranking.table import OUTCOME_COLUMNS, lists_of, outcome, with_pseudonyms
from dualrec.scoring.models import Models, load_models
from dualrec.scoring.pipeline import score
from dualrec.storage.schemas import RECOMMENDATIONS, TRACES
from dualrec.storage.workspace import Workspace

LIST_ROWS_A_FILE, TRACES_A_FILE = 500_000, 20_000  # tens of megabytes each
OVERLAP_SAMPLE = 20_000  # users on whom the overlap with the previous snapshot is measured
COUNTER_TIMEOUT_S = 10.0


class ScoringOutcome(NamedTuple):
    """What was scored for a snapshot.

    Attributes:
        failed: ids of the users on whom the language model failed, int64.
        counts: as `table.outcome` says, summed up; tokens of the calibration included.
        weight: of the language model in the lists.
    """

    failed: np.ndarray
    counts: dict[str, Any]
    weight: float


class SnapshotScorer:
    """The datasets and models of one run in one Ray session; models are loaded when first needed.

    Args:
        histories: schema HISTORIES, of the users to be served.
    """

    def __init__(
        self,
        workspace: Workspace,
        data: Prepared,
        settings: Settings,
        histories: ray.data.Dataset,
        run_date: date,
    ) -> None:
        self.workspace, self.data, self.settings = workspace, data, settings
        self.histories, self.run_date = histories, run_date
        self._models: Models | None = None

    @property
    def models(self) -> Models:
        """Return the active models."""
        if self._models is None:
            self._models = load_models(self.workspace, self.data, self.settings)
        return self._models

    def missing_requests(
        self, to_score: np.ndarray, scored: ScoredUsers
    ) -> ray.data.Dataset | None:
        """Build the requests that were not answered yet, of users and of the calibration.

        Args:
            to_score: ids of the users, int64.

        Returns:
            None where there are none.
        """
        left = np.setdiff1d(to_score, scored.ids("night"))
        requests = self._night_requests(left) if len(left) else None
        calibration = calibration_requests(self.workspace, self.data, self.settings)
        if calibration is not None:
            finished = {"users": [ray.put(scored.ids(PURPOSE))], "keep": False}
            calibration = calibration.map_batches(
                _filter_users, fn_kwargs=finished, batch_format="pyarrow", batch_size=None
            ).materialize()
            if calibration.count():
                return calibration if requests is None else requests.union(calibration)
        return requests

    def score(self, requests: ray.data.Dataset, folder: str, counter: ActorHandle) -> None:
        """Answer the requests, and write traces to a folder of the workspace as they come, a few
        in each file."""
        traces = score(requests, self.models, self.settings, counter)
        # A whole core is seldom free, and traces that wait for one are lost with the driver.
        light = {"num_cpus": 0.1}
        traces.write_parquet(
            self.workspace.path(folder), filesystem=self.workspace.filesystem, ray_remote_args=light
        )

    def write_traces(self, scored: ScoredUsers, folder: str) -> ScoringOutcome:
        """Write the traces of all scored users, and sum up what the language model did."""
        traces = self._traces(scored)
        weight = fused_weight(traces, self.workspace, self.data, self.settings)
        night = traces_for(traces, "night", self.settings)
        if len(scored.ids("night")):
            with_pseudonyms(night, salt_of(self.settings.recommend.trace_salt_env)).write_parquet(
                self.workspace.path(folder),
                filesystem=self.workspace.filesystem,
                min_rows_per_file=TRACES_A_FILE,
            )
        return ScoringOutcome(*_sum_outcomes(traces, self.settings.language.decoding), weight)

    def write_lists(
        self,
        scored: ScoredUsers,
        weight: float,
        to_carry: np.ndarray,
        previous: Manifest | None,
        folder: str,
    ) -> None:
        """Write the lists of scored users, and of the users `to_carry` (ids) those of the previous
        snapshot under the new run date."""
        parts = []
        if len(scored.ids("night")):
            night = traces_for(self._traces(scored), "night", self.settings)
            parts.append(lists_of(night, self.models, self.settings, self.run_date, weight))
        if previous is not None and len(to_carry):
            chosen = {"users": [ray.put(to_carry)], "run_date": self.run_date}
            parts.append(
                self._published(previous).map_batches(
                    _carry_over, fn_kwargs=chosen, batch_format="pyarrow", batch_size=None
                )
            )
        lists = parts[0].union(parts[1]) if len(parts) == 2 else parts[0]
        lists.write_parquet(
            self.workspace.path(folder),
            filesystem=self.workspace.filesystem,
            min_rows_per_file=LIST_ROWS_A_FILE,
        )

    def overlap(self, users: np.ndarray, previous: Manifest, folder: str) -> float | None:
        """Measure which share of the movies in users' previous lists is in their new ones.

        Args:
            users: ids; of many, a seeded sample is compared.
            folder: of the new lists.

        Returns:
            None where none of them had a list.
        """
        if not len(users):
            return None
        if len(users) > OVERLAP_SAMPLE:
            users = np.sort(np.random.default_rng(0).choice(users, OVERLAP_SAMPLE, replace=False))
        before = _pairs(self._published(previous), users)
        if not before.height:
            return None
        now = _pairs(self._read(self.workspace.parquet_files(folder)), users)
        return before.join(now, on=["user_id", "item_id"], how="semi").height / before.height

    def accuracy(self) -> float | None:
        """Return NDCG@10 of the lists on validation users, measured when the weight was chosen;
        None where there is no weight."""
        name = fusion_name(self.data, self.settings)
        if self.settings.ranking.preset != "fused" or not self.workspace.has(name):
            return None
        fusion = self.workspace.description(name)
        return float(fusion["fused_ndcg_at_10"][str(fusion["weight"])])

    def _night_requests(self, users: np.ndarray) -> ray.data.Dataset:
        chosen = self.histories.map_batches(
            _filter_users,
            fn_kwargs={"users": [ray.put(users)]},
            batch_format="pyarrow",
            batch_size=None,
        )
        decoding = {"decoding": self.settings.language.decoding}
        return chosen.map_batches(
            night_requests, fn_kwargs=decoding, batch_format="pyarrow", batch_size=None
        )

    def _traces(self, scored: ScoredUsers) -> ray.data.Dataset:
        if not scored.files:
            return ray.data.from_arrow(TRACES.empty_table())
        return self._read([self.workspace.path(name) for name in scored.files])

    def _published(self, manifest: Manifest) -> ray.data.Dataset:
        return self._read(published_paths(self.workspace, manifest))

    def _read(self, paths: list[str]) -> ray.data.Dataset:
        return ray.data.read_parquet(paths, filesystem=self.workspace.filesystem, partitioning=None)


def engine_work(counter: ActorHandle) -> dict[str, float]:
    """Return what engines did so far: `answered` rows, and the `engine_seconds` that it took; empty
    if the counter does not respond."""
    try:
        answered, seconds = ray.get(counter.engine.remote(), timeout=COUNTER_TIMEOUT_S)
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError):
        return {}
    return {"answered": answered, "engine_seconds": seconds}


def _filter_users(
    table: pa.Table, users: list["ray.ObjectRef[np.ndarray]"], keep: bool = True
) -> pa.Table:
    """Keep the rows of some users (ids, int64), or drop them."""
    matches = np.isin(table.column("user_id").to_numpy(), ray.get(users[0]), invert=not keep)
    return table.filter(pa.array(matches))


def _carry_over(
    lists: pa.Table, users: list["ray.ObjectRef[np.ndarray]"], run_date: date
) -> pa.Table:
    rows = _filter_users(lists, users).select(RECOMMENDATIONS.names)
    run_dates = pa.array([run_date] * len(rows), pa.date32())
    return rows.set_column(0, RECOMMENDATIONS.field(0), run_dates)


def _pairs(lists: ray.data.Dataset, users: np.ndarray) -> pl.DataFrame:
    pairs = lists.select_columns(["user_id", "item_id"]).map_batches(
        _filter_users,
        fn_kwargs={"users": [ray.put(users)]},
        batch_format="pyarrow",
        batch_size=None,
    )
    batches = pairs.iter_batches(batch_format="pyarrow", batch_size=None)
    empty = RECOMMENDATIONS.empty_table().select(["user_id", "item_id"])
    return pl.DataFrame(pa.concat_tables([empty, *batches]))


def _sum_outcomes(
    traces: ray.data.Dataset, decoding: Decoding
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the users with an error (ids, int64), and the sum of `outcome` over all users; its
    tokens with those of the calibration."""
    failed, total = [np.empty(0, np.int64)], outcome(TRACES.empty_table())
    read = traces.select_columns([*OUTCOME_COLUMNS, "purpose", "decoding"])
    for batch in read.iter_batches(batch_format="pyarrow", batch_size=None):
        night, calibration = (made_for(batch, purpose, decoding) for purpose in ("night", PURPOSE))
        failed.append(night.filter(pc.is_valid(night.column("error"))).column("user_id").to_numpy())
        total = _add_nested(total, outcome(night))
        for tokens in ("prompt_tokens", "generated_tokens"):
            total[tokens] += outcome(calibration)[tokens]
    return np.concatenate(failed), total


def _add_nested(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _add_nested(value, right[name]) if isinstance(value, dict) else value + right[name]
        for name, value in left.items()
    }
