"""The job `evaluate`: test users' cut histories and models in; reports/RUN with metrics.json and report.md out."""

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from dualrec.data.prepare import Prepared, prepared
from dualrec.errors import InputError
from dualrec.evaluation.baselines.most_popular import most_popular_list, popularity_order
from dualrec.evaluation.baselines.random_items import random_list
from dualrec.evaluation.metrics import Listed, intervals, user_metrics
from dualrec.evaluation.published import PUBLISHED
from dualrec.evaluation.report import markdown_report, terminal_table
from dualrec.fusion import PURPOSE, calibration_requests, fit_weight
from dualrec.ranking import fused_list, language_list, paper_list
from dualrec.requests import Protocol, cut_requests
from dualrec.schemas import TRACES, conform
from dualrec.scoring import load_models, score, scoring_version
from dualrec.session import ray_session
from dualrec.settings import Settings, version_of
from dualrec.summary import Summary
from dualrec.workspace import Workspace

LENGTH = 10


def evaluate(settings: Settings, force: bool = False) -> Summary:
    """Measure every system under every protocol on the test users, unless this report is there.

    Raises:
        WorkspaceError: there are no histories or no sequence model, or the workspace cannot be written.
        AssetError: a model cannot be had.
        InputError: no test user has a history long enough for a protocol.
    """
    workspace = Workspace(settings.workspace)
    data = prepared(workspace, settings)
    settings = settings.model_copy(update={"ranking": settings.ranking.model_copy(update={"preset": "fused"})})
    run = version_of(scoring_version(data, settings), settings.ranking, settings.evaluation)
    name = f"reports/{run}"
    if not workspace.has(name) or force:
        with ray_session(settings.cluster):
            _write(workspace, data, settings, name)
    return _summary(workspace, name)


def measure(
    traces: list[dict[str, Any]], catalogue: pa.Table, weight: float, protocol: Protocol, settings: Settings
) -> dict[str, Any]:
    """The metrics of every system on the traces of one protocol, as metrics.json holds them."""
    item_ids, popularity = (catalogue.column(name).to_numpy() for name in ("item_id", "popularity"))
    genres = {row["item_id"]: frozenset(row["genres"]) for row in catalogue.select(["item_id", "genres"]).to_pylist()}
    order = popularity_order(item_ids, popularity)
    rows: dict[str, list[dict[str, float]]] = {}
    for trace in traces:
        for system, items in _lists(trace, item_ids, order, weight, settings.evaluation.seed).items():
            written = trace["title_item_ids"] if system == "language model alone" else None
            listed = Listed(items, trace["held_out"], trace["item_ids"], written)
            rows.setdefault(system, []).append(user_metrics(listed, genres))
    return {
        "users": len(traces),
        "models": {system: _with_intervals(users, settings) for system, users in rows.items()},
        "published": {row.name: asdict(row) for row in PUBLISHED[protocol]},
    }


def _lists(
    trace: dict[str, Any], item_ids: np.ndarray, order: np.ndarray, weight: float, seed: int
) -> dict[str, list[int | None]]:
    watched = trace["item_ids"]
    return {
        "Random": [*random_list(trace["user_id"], watched, item_ids, LENGTH, seed)],
        "MostPop": [*most_popular_list(watched, order, LENGTH)],
        "sequence model alone": trace["sequence_item_ids"][:LENGTH],
        "language model alone": [place.item_id for place in language_list(trace, LENGTH)],
        "paper": [place.item_id for place in paper_list(trace, LENGTH)],
        "fused": [place.item_id for place in fused_list(trace, weight, LENGTH)],
    }


def _with_intervals(users: list[dict[str, float]], settings: Settings) -> dict[str, dict[str, float | None]]:
    names = list(users[0])
    values = np.array([[user[name] for name in names] for user in users])
    bounds = intervals(values, settings.evaluation.bootstrap_samples, settings.evaluation.seed)
    return {
        name: {
            key: None if math.isnan(value) else float(value)
            for key, value in zip(("value", "low", "high"), row, strict=True)
        }
        for name, row in zip(names, bounds, strict=True)
    }


def _requests(workspace: Workspace, data: Prepared, settings: Settings) -> ray.data.Dataset:
    histories = data.read_histories(workspace, "test")
    if settings.evaluation.max_users:
        histories = (
            histories.random_shuffle(seed=settings.evaluation.seed).limit(settings.evaluation.max_users).materialize()
        )
    parts = [
        histories.map_batches(
            cut_requests, fn_kwargs={"protocol": protocol, "purpose": protocol}, batch_format="pyarrow", batch_size=None
        )
        for protocol in settings.evaluation.protocols
    ]
    calibration = calibration_requests(workspace, data, settings)
    return parts[0].union(*parts[1:], *([calibration] if calibration is not None else []))


def _write(workspace: Workspace, data: Prepared, settings: Settings, name: str) -> None:
    models = load_models(workspace, data, settings)
    made: dict[str, Any] = {"data_version": data.version, "settings": settings.model_dump(mode="json")}
    with workspace.writing(name, made) as folder:
        traces_folder = f"{folder}/traces"
        score(_requests(workspace, data, settings), models, settings).write_parquet(
            traces_folder, filesystem=workspace.filesystem
        )
        traces = workspace.read_table(traces_folder.removeprefix(f"{workspace.root}/"), TRACES)
        weight = fit_weight(_of(traces, PURPOSE), workspace, data, settings)
        protocols = {}
        for protocol in settings.evaluation.protocols:
            rows = _of(traces, protocol).sort_by("user_id").to_pylist()
            if not rows:
                raise InputError(
                    f"no test user has a history long enough for the protocol {protocol}: bring more users"
                )
            protocols[protocol] = measure(rows, models.catalogue, weight, protocol, settings)
        metrics = {
            "dataset": data.dataset,
            "settings_hash": version_of(settings),
            "weight": weight,
            "protocols": protocols,
        }
        _write_text(workspace, f"{folder}/metrics.json", json.dumps(metrics, indent=2))
        _write_text(workspace, f"{folder}/report.md", markdown_report(metrics))


def _of(traces: pa.Table, purpose: str) -> pa.Table:
    return conform(traces.filter(pc.equal(traces.column("purpose"), purpose)), TRACES, "traces")


def _write_text(workspace: Workspace, path: str, text: str) -> None:
    with workspace.filesystem.open_output_stream(path) as stream:
        stream.write(text.encode())


def _summary(workspace: Workspace, name: str) -> Summary:
    metrics = json.loads(workspace.read_bytes(f"{name}/metrics.json"))
    lines: dict[str, object] = {"data set": metrics["dataset"], "weight of the language model": metrics["weight"]}
    places = {file: f"{workspace.uri}/{name}/{file}" for file in ("metrics.json", "report.md")}
    tables = [terminal_table(protocol, result) for protocol, result in metrics["protocols"].items()]
    return Summary("evaluate", lines, places, tables)
