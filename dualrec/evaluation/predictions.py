"""The language model's answers to the cases of the evaluation: predictions/VERSION, a table of
schema TRACES.

`run` has the cases answered in the pass in which `recommend` scores its users, so that the engine
starts once;
`evaluate` alone has a pass of its own. Both write the same artifact, and measuring reads it.
Variants, which ask other models or ask otherwise, have a pass each, whose traces lie beside the
report.
"""

import time
from functools import partial, reduce
from typing import Any

import ray.data

from dualrec.cluster.progress import log_progress
from dualrec.config.settings import Settings, VariantSettings, version_of
from dualrec.data.prepare import Prepared
from dualrec.data.requests import made_for, of_purposes
from dualrec.errors import DualrecError, InputError
from dualrec.evaluation.cases import Questions, questions_of_test_users
from dualrec.evaluation.language_systems import IN_FORCE, Predictions, purpose_of, requests_of
from dualrec.evaluation.scorers import Asked
from dualrec.ranking.fusion import PURPOSE, calibration_requests, fit_weight, fused_weight
from dualrec.ranking.recommend import FurtherRequests
from dualrec.scoring.models import load_models
from dualrec.scoring.pipeline import score, scoring_version
from dualrec.storage.schemas import TRACES
from dualrec.storage.workspace import Workspace

# of the cases and what is kept of their answers; raised when they become others (CONTRIBUTING.md)
METHOD = 1


def with_fused_lists(settings: Settings) -> Settings:
    """The settings under which everything is measured: with the fused list, also where `recommend`
    writes the paper's."""
    return settings.model_copy(
        update={"ranking": settings.ranking.model_copy(update={"preset": "fused"})}
    )


def predictions_name(question: Questions) -> str:
    """The artifact that holds the answers to these cases: of these histories, models and prompt,
    for these users."""
    chosen = question.settings.evaluation
    version = version_of(
        METHOD, scoring_version(question.data, question.settings), question.truth_version, sorted(_purposes(question.asked)),
        chosen.max_users, chosen.seed,
    )  # fmt: skip
    return f"predictions/{version}"


def further_requests(settings: Settings, force: bool = False) -> FurtherRequests | None:
    """What `evaluate` will need of the language model, for the pass of `recommend`; None where it
    is there.

    The time split rests on other models, so its cases are left to `evaluate`. Needs a Ray session.

    Args:
        force: have the cases answered again.

    Raises:
        WorkspaceError: there are no histories.
    """
    chosen = settings.evaluation
    if not chosen.language or set(chosen.protocols) == {"time_split"}:
        return None
    workspace = Workspace.of(settings)
    try:
        question = questions_of_test_users(workspace, with_fused_lists(settings))
    except InputError:
        return None  # nobody to ask: `evaluate` says so, after the lists are written
    return _unanswered(workspace, question, force, calibrated=settings.ranking.preset == "fused")


def predictions_in_force(workspace: Workspace, question: Questions, folder: str) -> Predictions:
    """The answers of the models in force to a question's cases; those that are not there yet are
    asked for now.

    Args:
        folder: where traces may lie meanwhile.

    Raises:
        WorkspaceError: a model has not been trained.
        AssetError: a model cannot be had.
        DualrecError: not every case got an answer.
    """
    data, settings, name = question.data, question.settings, predictions_name(question)
    unanswered = _unanswered(workspace, question)
    if unanswered is not None:
        seconds = _answer(workspace, data, settings, unanswered.requests, folder, "requests")
        traces = ray.data.read_parquet(folder, filesystem=workspace.filesystem, partitioning=None)
        unanswered.keep(traces, seconds)
        workspace.filesystem.delete_dir(folder)
    fit = fit_weight(TRACES.empty_table(), workspace, data, settings)  # is there by now
    seconds = workspace.description(name)["seconds_per_request"]
    return Predictions(workspace.read_table(workspace.content(name), TRACES), seconds, fit)


def predictions_of_variant(
    workspace: Workspace,
    data: Prepared,
    settings: Settings,
    variant: VariantSettings,
    asked: Asked,
    folder: str,
) -> Predictions:
    """Ask the models of a variant in a pass of its own.

    Args:
        settings: the variant's (see language_systems.settings_of).
        folder: where the traces are written.

    Raises:
        WorkspaceError: a model has not been trained.
        AssetError: a model cannot be had.
    """
    requests = requests_of(data, settings, variant, asked)
    calibration = calibration_requests(workspace, data, settings) if variant.fused else None
    if calibration is not None:
        requests = requests.union(calibration)
    seconds = _answer(workspace, data, settings, requests, folder, f"requests, {variant.name}")
    traces = workspace.read_table(workspace.name_of(folder), TRACES)
    fit = None
    if variant.fused:
        fit = fit_weight(
            made_for(traces, PURPOSE, settings.language.decoding), workspace, data, settings
        )
    return Predictions(of_purposes(traces, _purposes(asked)), seconds, fit)


def _unanswered(
    workspace: Workspace, question: Questions, force: bool = False, calibrated: bool = False
) -> FurtherRequests | None:
    """The requests whose traces measuring needs and the workspace lacks: cases, and those that the
    weight is chosen by.

    Args:
        calibrated: whether the pass asks for the latter by itself.
    """
    data, settings = question.data, question.settings
    cases = calibration = None
    if force or not workspace.has(predictions_name(question)):
        cases = requests_of(data, settings, IN_FORCE, question.asked)
    if not calibrated:
        calibration = calibration_requests(workspace, data, settings)
    requests = [one for one in (cases, calibration) if one is not None]
    if not requests:
        return None
    keep = partial(
        _keep,
        workspace=workspace,
        question=question,
        cases=cases is not None,
        calibration=calibration is not None,
    )
    return FurtherRequests(reduce(ray.data.Dataset.union, requests), keep)


def _keep(
    traces: ray.data.Dataset,
    seconds_per_request: float,
    workspace: Workspace,
    question: Questions,
    cases: bool,
    calibration: bool,
) -> None:
    """Write the traces of the cases, and choose the weight by those of the calibration, as far as
    they were asked for."""
    if cases:
        _write(traces, seconds_per_request, workspace, question)
    if calibration:
        fused_weight(traces, workspace, question.data, question.settings)


def _write(
    traces: ray.data.Dataset, seconds_per_request: float, workspace: Workspace, question: Questions
) -> None:
    purposes = _purposes(question.asked)
    made: dict[str, Any] = {
        "data_version": question.data.version,
        "seconds_per_request": seconds_per_request,
    }
    made["settings"] = question.settings.model_dump(mode="json")
    with workspace.writing(predictions_name(question), made) as folder:
        traces.map_batches(
            of_purposes, fn_kwargs={"purposes": purposes}, batch_format="pyarrow", batch_size=None
        ).write_parquet(folder, filesystem=workspace.filesystem)
        expected = sum(
            len(cases)
            for cases in {purpose_of(name): one for name, one in question.asked.items()}.values()
        )
        made["cases"] = len(workspace.read_table(workspace.name_of(folder), TRACES, ["user_id"]))
        if made["cases"] != expected:
            raise DualrecError(
                f"{expected} cases of the evaluation were to be answered, but {made['cases']} rows were traced: run the job "
                "again, and look into the Ray dashboard for failed tasks"
            )


def _answer(
    workspace: Workspace,
    data: Prepared,
    settings: Settings,
    requests: ray.data.Dataset,
    folder: str,
    what: str,
) -> float:
    """Have requests answered, their traces written to a folder; returns the mean seconds a request."""
    models = load_models(workspace, data, settings)
    rows = requests.count()
    started = time.perf_counter()
    with log_progress(rows, what) as counter:
        score(requests, models, settings, counter).write_parquet(
            folder, filesystem=workspace.filesystem
        )
    return (time.perf_counter() - started) / max(rows, 1)


def _purposes(asked: Asked) -> list[str]:
    return list({purpose_of(protocol): None for protocol in asked})
