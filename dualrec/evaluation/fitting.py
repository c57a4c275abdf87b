"""The job `fit-baselines`: training and validation users in; one fitted model a baseline out, with
what was tried.

Every baseline has the same budget: so many choices of parameters, the published default first,
judged by NDCG@10 of validation users under next_item. Each fit is a Ray task of one worker, many at
once.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import ray

from dualrec.assets.digests import model_digest
from dualrec.assets.nodes import ModelPlace
from dualrec.baselines.baseline import (
    Baseline,
    FittedBaseline,
    Items,
    Parameters,
    State,
    TrainingData,
)
from dualrec.baselines.registry import baseline, chosen_systems
from dualrec.cluster.session import ray_session
from dualrec.cluster.summary import Summary
from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared, prepared
from dualrec.errors import DualrecError
from dualrec.evaluation.protocols import numbered
from dualrec.language.rerank import check_encoder, title_embeddings
from dualrec.storage.schemas import HISTORIES
from dualrec.storage.workspace import Workspace

logger = logging.getLogger(__name__)

METHOD = (
    1  # of all baselines; raised when one learns otherwise from the same input (CONTRIBUTING.md)
)
STATE = "state.safetensors"


@dataclass(frozen=True)
class Fit:
    """One choice of parameters, and what came of it."""

    parameters: Parameters
    fitted: FittedBaseline
    seconds: float


def fit_baselines(settings: Settings, force: bool = False) -> Summary:
    """Fit every baseline of the settings, unless it is there.

    Raises:
        SettingsError: there is no baseline of a name.
        WorkspaceError: there are no histories, or the workspace cannot be written.
        AssetError: the sentence encoder, whose vectors stand for texts, cannot be had.
    """
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    names = chosen_systems(settings.baselines.systems)
    missing = [
        name for name in names if force or not workspace.has(baseline_name(name, data, settings))
    ]
    if missing:
        check_encoder(workspace, data, settings)
        with ray_session(settings.cluster):
            _fit_all(workspace, data, settings, missing)
    return _summary(workspace, data, settings, names, len(missing))


def baseline_name(name: str, data: Prepared, settings: Settings) -> str:
    """The artifact of a fitted baseline."""
    budget = settings.baselines.model_dump(mode="json", exclude={"systems", "resources"})
    folder = name.lower().replace(" ", "-")
    encoder = model_digest(ModelPlace.named(settings.rerank.model, settings))
    return f"models/baselines/{folder}/{version_of(METHOD, data.version, encoder, budget)}"


def fitted_state(workspace: Workspace, artifact: str) -> State:
    """What a fitted baseline scores with."""
    from safetensors.numpy import load

    return dict(load(workspace.read_bytes(f"{workspace.content(artifact)}/{STATE}")))


def items_of(workspace: Workspace, data: Prepared, settings: Settings) -> Items:
    """The catalog as baselines see it. Needs a Ray session: titles are embedded in a task.

    Raises:
        AssetError: the sentence encoder cannot be had.
    """
    vectors = ray.get(title_embeddings(workspace, data, settings))
    return Items(data.catalog.column("item_id").to_numpy(), vectors)


def drawn(ranges: Any, name: str, trial: int, seed: int) -> dict[str, Any]:
    """The parameters of a trial: the published defaults first, then a seeded draw from each range."""
    if trial == 0:
        return {key: values[0] for key, values in ranges.items()}
    random = np.random.default_rng([seed, trial, crc32(name.encode())])
    return {key: values[int(random.integers(len(values)))] for key, values in ranges.items()}


@ray.remote
def _fit(name: str, trial: int, data: TrainingData) -> Fit:
    import torch

    torch.set_num_threads(data.settings.resources.threads)
    system: Baseline = baseline(name)
    parameters = drawn(system.ranges, name, trial, data.settings.seed)
    started = time.perf_counter()
    fitted = system.fit(data, parameters)
    return Fit(parameters, fitted, time.perf_counter() - started)


@ray.remote(num_cpus=0.1)
def _searched(name: str) -> tuple[bool, str]:
    """Whether a baseline has parameters, and the paper it is from."""
    system = baseline(name)
    return bool(system.ranges), system.paper


def _fit_all(workspace: Workspace, data: Prepared, settings: Settings, names: list[str]) -> None:
    stored = ray.put(training_data(workspace, data, settings))
    about = dict(zip(names, ray.get([_searched.remote(name) for name in names]), strict=True))
    trials = {name: settings.baselines.trials if about[name][0] else 1 for name in names}
    resources = settings.baselines.resources
    fit = _fit.options(num_cpus=resources.cpus, max_retries=resources.max_failures)
    tasks = {
        fit.remote(name, trial, stored): (name, trial)
        for name in names
        for trial in range(trials[name])
    }
    fits: dict[str, dict[int, Fit]] = {name: {} for name in names}
    waiting, started = list(tasks), time.perf_counter()
    while waiting:
        (done,), waiting = ray.wait(waiting)
        name, trial = tasks[done]
        fits[name][trial] = ray.get(done)
        logger.info(
            _line(name, trial, fits[name][trial], trials, len(waiting), len(tasks), started)
        )
        if len(fits[name]) == trials[name]:
            _keep(
                workspace,
                data,
                settings,
                name,
                about[name][1],
                [fits[name][one] for one in range(trials[name])],
            )
            fits[name] = {}


def training_data(workspace: Workspace, data: Prepared, settings: Settings) -> TrainingData:
    """All that a baseline may learn from: nothing of test users. Needs a Ray session, as items_of
    does."""
    items = items_of(workspace, data, settings)
    training, validation = (
        numbered_split(workspace, data, split, items.item_ids) for split in ("train", "validation")
    )
    return TrainingData(items, training, validation, settings.baselines)


def numbered_split(
    workspace: Workspace, data: Prepared, split: str, item_ids: np.ndarray
) -> list[np.ndarray]:
    """The histories of a split's users as item numbers, ordered by user id."""
    histories = workspace.read_table(
        f"{workspace.content(data.histories)}/split={split}", HISTORIES, ["user_id", "item_ids"]
    )
    return numbered(histories.sort_by("user_id"), item_ids)


def _keep(
    workspace: Workspace, data: Prepared, settings: Settings, name: str, paper: str, fits: list[Fit]
) -> None:
    from safetensors.numpy import save

    best = max(fits, key=lambda fit: fit.fitted.ndcg_at_10)
    if not best.fitted.state:
        raise DualrecError(
            f"{name} learned nothing: its loss was not finite in the first epoch of any of {len(fits)} trials; try more "
            "(baselines.trials), or leave it out of baselines.systems"
        )
    description: dict[str, Any] = {
        "name": name,
        "paper": paper,
        "data_version": data.version,
        "parameters": dict(best.parameters),
        "ndcg_at_10": best.fitted.ndcg_at_10,
        "epochs": best.fitted.epochs,
        "fit_seconds": best.seconds,
        "trials": [
            {
                "parameters": dict(fit.parameters),
                "ndcg_at_10": fit.fitted.ndcg_at_10,
                "seconds": fit.seconds,
            }
            for fit in fits
        ],
        "settings": settings.baselines.model_dump(mode="json"),
    }
    with workspace.writing(baseline_name(name, data, settings), description) as folder:
        arrays = {key: np.ascontiguousarray(array) for key, array in best.fitted.state.items()}
        with workspace.filesystem.open_output_stream(f"{folder}/{STATE}") as stream:
            stream.write(save(arrays))


def _line(
    name: str,
    trial: int,
    fit: Fit,
    trials: dict[str, int],
    waiting: int,
    tasks: int,
    started: float,
) -> str:
    epochs = f" after {len(fit.fitted.epochs)} epochs" if fit.fitted.epochs else ""
    left = (time.perf_counter() - started) / (tasks - waiting) * waiting
    return (
        f"{name}, trial {trial + 1} of {trials[name]}: NDCG@10 {fit.fitted.ndcg_at_10:.4f}{epochs}, {fit.seconds:.0f} s; "
        f"{tasks - waiting} of {tasks} fits done, about {left / 60:.0f} min left"
    )


def _summary(
    workspace: Workspace, data: Prepared, settings: Settings, names: list[str], fitted: int
) -> Summary:
    lines: dict[str, object] = {"fitted now": fitted, "already there": len(names) - fitted}
    for name in names:
        made = workspace.description(baseline_name(name, data, settings))
        lines[name] = (
            f"NDCG@10 {made['ndcg_at_10']:.4f} of validation users, {made['fit_seconds']:.0f} s"
        )
    return Summary("fit-baselines", lines, {"models": f"{workspace.uri}/models/baselines"})
