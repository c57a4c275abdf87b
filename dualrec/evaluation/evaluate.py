"""The job `evaluate`: test users' cut histories and models in; reports/RUN with metrics.json and report.md out."""

import json
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data

from dualrec.data.prepare import Prepared, prepared
from dualrec.errors import InputError
from dualrec.evaluation.report import markdown_report, terminal_table
from dualrec.evaluation.systems import measure
from dualrec.fusion import PURPOSE, calibration_requests, fit_weight
from dualrec.language.models import decodings_of
from dualrec.progress import logged_progress
from dualrec.requests import Decoding, cut_requests, made_for
from dualrec.schemas import TRACES
from dualrec.scoring import load_models, score, scoring_version
from dualrec.session import ray_session
from dualrec.settings import Settings, version_of
from dualrec.summary import Summary
from dualrec.workspace import Workspace

Variants = dict[Decoding, Settings]


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


def _write(workspace: Workspace, data: Prepared, settings: Settings, name: str) -> None:
    models, variants = load_models(workspace, data, settings), _variants(settings)
    made: dict[str, Any] = {"data_version": data.version, "settings": settings.model_dump(mode="json")}
    with workspace.writing(name, made) as folder:
        traces_folder = f"{folder}/traces"
        requests = _requests(workspace, data, variants)
        with logged_progress(requests.count(), "requests") as counter:
            score(requests, models, settings, counter).write_parquet(traces_folder, filesystem=workspace.filesystem)
        traces = workspace.read_table(workspace.name_of(traces_folder), TRACES)
        fits = {
            decoding: fit_weight(made_for(traces, PURPOSE, decoding), workspace, data, variant)
            for decoding, variant in variants.items()
        }
        weights: dict[Decoding, float] = {decoding: fit["weight"] for decoding, fit in fits.items()}
        protocols = {}
        for protocol in settings.evaluation.protocols:
            rows = {decoding: _rows(traces, protocol, decoding) for decoding in variants}
            protocols[protocol] = measure(
                rows, weights, models.catalogue, protocol, settings.evaluation, settings.language.titles
            )
        metrics = {
            "dataset": data.dataset,
            "settings_hash": version_of(settings),
            "decoding": settings.language.decoding,
            "validation": fits,
            "protocols": protocols,
        }
        _write_text(workspace, f"{folder}/metrics.json", json.dumps(metrics, indent=2))
        _write_text(workspace, f"{folder}/report.md", markdown_report(metrics))


def _variants(settings: Settings) -> Variants:
    """The settings for each decoding that is measured, the one in force first."""
    possible = decodings_of(settings.language.model)
    others = [decoding for decoding in settings.evaluation.decodings if decoding in possible]
    decodings = dict.fromkeys((settings.language.decoding, *others))
    return {
        decoding: settings.model_copy(update={"language": settings.language.model_copy(update={"decoding": decoding})})
        for decoding in decodings
    }


def _requests(workspace: Workspace, data: Prepared, variants: Variants) -> ray.data.Dataset:
    settings = next(iter(variants.values()))
    histories = data.read_histories(workspace, "test")
    if settings.evaluation.max_users:
        histories = (
            histories.random_shuffle(seed=settings.evaluation.seed).limit(settings.evaluation.max_users).materialize()
        )
    parts = []
    for decoding, variant in variants.items():
        for protocol in settings.evaluation.protocols:
            cut = partial(cut_requests, protocol=protocol, purpose=protocol, decoding=decoding)
            parts.append(histories.map_batches(cut, batch_format="pyarrow", batch_size=None))
        calibration = calibration_requests(workspace, data, variant)
        parts += [calibration] if calibration is not None else []
    return parts[0].union(*parts[1:])


def _rows(traces: pa.Table, protocol: str, decoding: Decoding) -> list[dict[str, Any]]:
    rows = made_for(traces, protocol, decoding).sort_by("user_id").to_pylist()
    if not rows:
        raise InputError(f"no test user has a history long enough for the protocol {protocol}: bring more users")
    return list(rows)


def _write_text(workspace: Workspace, path: str, text: str) -> None:
    with workspace.filesystem.open_output_stream(path) as stream:
        stream.write(text.encode())


def _summary(workspace: Workspace, name: str) -> Summary:
    metrics = json.loads(workspace.read_bytes(f"{name}/metrics.json"))
    fits = metrics["validation"]
    lines: dict[str, object] = {"data set": metrics["dataset"], "decoding": metrics["decoding"]}
    for decoding, fit in fits.items():
        lines[f"on validation users, {decoding}"] = (
            f"NDCG@10 {fit['language_ndcg_at_10']:.4f} of the language model alone; its weight {fit['weight']}"
        )
    places = {file: f"{workspace.uri}/{name}/{file}" for file in ("metrics.json", "report.md")}
    tables = [terminal_table(protocol, result) for protocol, result in metrics["protocols"].items()]
    return Summary("evaluate", lines, places, tables)
