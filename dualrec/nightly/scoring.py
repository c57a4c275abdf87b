"""The Ray work of a night: score whom nobody has scored yet, then write lists, new ones and carried
ones, and traces."""

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
from dualrec.nightly.staging import Scored
from dualrec.publishing.manifest import Manifest, published_paths
from dualrec.ranking.fusion import (
    PURPOSE,
    calibration_requests,
    fused_weight,
    fusion_name,
    traces_for,
)
from dualrec.ranking.table import OUTCOME_COLUMNS, lists_of, outcome, with_pseudonyms
from dualrec.scoring.pipeline import Models, load_models, score
from dualrec.storage.schemas import RECOMMENDATIONS, TRACES
from dualrec.storage.workspace import Workspace

LIST_ROWS_A_FILE, TRACES_A_FILE = 500_000, 20_000  # tens of megabytes each
SAMPLE = 20_000  # users on whom the overlap with the night before is measured
ANSWERED_WITHIN_S = 10.0


class Outcome(NamedTuple):
    """What was scored for a night.

    Attributes:
        failed: ids of the users on whom the language model failed, int64.
        did: as `table.outcome` says, summed up; tokens of the calibration included.
        weight: of the language model in the lists.
    """

    failed: np.ndarray
    did: dict[str, Any]
    weight: float


class NightScorer:
    """The datasets and models of one night in one Ray session; models are loaded when first needed.

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
        """The models in force."""
        if self._models is None:
            self._models = load_models(self.workspace, self.data, self.settings)
        return self._models

    def missing(self, to_score: np.ndarray, scored: Scored) -> ray.data.Dataset | None:
        """The requests that nobody has answered yet, in memory; None where there are none."""
        left = np.setdiff1d(to_score, scored.of("night"))
        asked = calibration_requests(self.workspace, self.data, self.settings)
        requests = self._night_requests(left) if len(left) else None
        if asked is not None:
            finished = {"users": [ray.put(scored.of(PURPOSE))], "among": False}
            calibration = asked.map_batches(
                _of_users, fn_kwargs=finished, batch_format="pyarrow", batch_size=None
            ).materialize()
            if calibration.count():
                return calibration if requests is None else requests.union(calibration)
        return requests

    def score(self, requests: ray.data.Dataset, folder: str, counter: ActorHandle) -> None:
        """Answer the requests; traces are written to a folder of the workspace as they come, a few
        in each file."""
        traces = score(requests, self.models, self.settings, counter)
        # A whole core is seldom free, and what waits for one is lost with the driver.
        light = {"num_cpus": 0.1}
        traces.write_parquet(
            self.workspace.path(folder), filesystem=self.workspace.filesystem, ray_remote_args=light
        )

    def write_traces(self, scored: Scored, folder: str) -> Outcome:
        """Write the night's traces, and sum up what the language model did for them."""
        traces = self._traces(scored)
        weight = fused_weight(traces, self.workspace, self.data, self.settings)
        night = traces_for(traces, "night", self.settings)
        if len(scored.of("night")):
            with_pseudonyms(night, salt_of(self.settings.recommend.trace_salt_env)).write_parquet(
                self.workspace.path(folder),
                filesystem=self.workspace.filesystem,
                min_rows_per_file=TRACES_A_FILE,
            )
        return Outcome(*_summed(traces, self.settings.language.decoding), weight)

    def write_lists(
        self,
        scored: Scored,
        weight: float,
        carried: np.ndarray,
        before: Manifest | None,
        folder: str,
    ) -> None:
        """Write the lists of scored users, and those of the night before for the users `carried`
        (ids)."""
        parts = []
        if len(scored.of("night")):
            night = traces_for(self._traces(scored), "night", self.settings)
            parts.append(lists_of(night, self.models, self.settings, self.run_date, weight))
        if before is not None and len(carried):
            own = {"users": [ray.put(carried)], "run_date": self.run_date}
            parts.append(
                self._published(before).map_batches(
                    _carried, fn_kwargs=own, batch_format="pyarrow", batch_size=None
                )
            )
        lists = parts[0].union(parts[1]) if len(parts) == 2 else parts[0]
        lists.write_parquet(
            self.workspace.path(folder),
            filesystem=self.workspace.filesystem,
            min_rows_per_file=LIST_ROWS_A_FILE,
        )

    def overlap(self, users: np.ndarray, before: Manifest, folder: str) -> float | None:
        """Of the movies in the lists of the night before, the share that is in tonight's lists too.

        Args:
            users: whose lists are compared; a seeded sample of them, if they are many.

        Returns:
            None where none of them had a list.
        """
        if not len(users):
            return None
        if len(users) > SAMPLE:
            users = np.sort(np.random.default_rng(0).choice(users, SAMPLE, replace=False))
        files = self.workspace.parquet_files(folder)
        earlier, now = (
            _pairs(dataset, users) for dataset in (self._published(before), self._read(files))
        )
        return (
            earlier.join(now, on=["user_id", "item_id"], how="semi").height / earlier.height
            if earlier.height
            else None
        )

    def accuracy(self) -> float | None:
        """NDCG@10 of the lists on validation users, as it was when the weight was chosen; None
        where none is."""
        name = fusion_name(self.data, self.settings)
        if self.settings.ranking.preset != "fused" or not self.workspace.has(name):
            return None
        kept = self.workspace.description(name)
        return float(kept["fused_ndcg_at_10"][str(kept["weight"])])

    def _night_requests(self, users: np.ndarray) -> ray.data.Dataset:
        chosen = self.histories.map_batches(
            _of_users,
            fn_kwargs={"users": [ray.put(users)]},
            batch_format="pyarrow",
            batch_size=None,
        )
        decoding = {"decoding": self.settings.language.decoding}
        return chosen.map_batches(
            night_requests, fn_kwargs=decoding, batch_format="pyarrow", batch_size=None
        )

    def _traces(self, scored: Scored) -> ray.data.Dataset:
        if not scored.files:
            return ray.data.from_arrow(TRACES.empty_table())
        return self._read([self.workspace.path(name) for name in scored.files])

    def _published(self, manifest: Manifest) -> ray.data.Dataset:
        return self._read(published_paths(self.workspace, manifest))

    def _read(self, paths: list[str]) -> ray.data.Dataset:
        return ray.data.read_parquet(paths, filesystem=self.workspace.filesystem, partitioning=None)


def engine_work(counter: ActorHandle) -> dict[str, float]:
    """What engines did so far: `answered` rows, and the `engine_seconds` that it took; nothing if
    nobody can tell."""
    try:
        answered, seconds = ray.get(counter.engine.remote(), timeout=ANSWERED_WITHIN_S)
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError):
        return {}
    return {"answered": answered, "engine_seconds": seconds}


def _of_users(
    table: pa.Table, users: list["ray.ObjectRef[np.ndarray]"], among: bool = True
) -> pa.Table:
    """The rows of some users (ids, int64), or of all others."""
    return table.filter(
        pa.array(np.isin(table.column("user_id").to_numpy(), ray.get(users[0]), invert=not among))
    )


def _carried(lists: pa.Table, users: list["ray.ObjectRef[np.ndarray]"], run_date: date) -> pa.Table:
    kept = _of_users(lists, users).select(RECOMMENDATIONS.names)
    return kept.set_column(
        0, RECOMMENDATIONS.field(0), pa.array([run_date] * len(kept), pa.date32())
    )


def _pairs(lists: ray.data.Dataset, users: np.ndarray) -> pl.DataFrame:
    pairs = lists.select_columns(["user_id", "item_id"]).map_batches(
        _of_users, fn_kwargs={"users": [ray.put(users)]}, batch_format="pyarrow", batch_size=None
    )
    batches = pairs.iter_batches(batch_format="pyarrow", batch_size=None)
    none = RECOMMENDATIONS.empty_table().select(["user_id", "item_id"])
    return pl.DataFrame(pa.concat_tables([none, *batches]))


def _summed(traces: ray.data.Dataset, decoding: Decoding) -> tuple[np.ndarray, dict[str, Any]]:
    """The night's users with an error, and `outcome` over all of the night; its tokens with those
    of the calibration."""
    failed, total = [np.empty(0, np.int64)], outcome(TRACES.empty_table())
    read = traces.select_columns([*OUTCOME_COLUMNS, "purpose", "decoding"])
    for batch in read.iter_batches(batch_format="pyarrow", batch_size=None):
        night, calibration = (made_for(batch, purpose, decoding) for purpose in ("night", PURPOSE))
        failed.append(night.filter(pc.is_valid(night.column("error"))).column("user_id").to_numpy())
        total = _added(total, outcome(night))
        for tokens in ("prompt_tokens", "generated_tokens"):
            total[tokens] += outcome(calibration)[tokens]
    return np.concatenate(failed), total


def _added(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _added(value, right[name]) if isinstance(value, dict) else value + right[name]
        for name, value in left.items()
    }
