"""The answers of every system that scores the catalog: the baselines and the sequence model, each
in Ray tasks."""

from typing import Any

import numpy as np
import ray

from dualrec.baselines.baseline import Histories, Items, Scorer
from dualrec.baselines.registry import baseline, chosen_systems
from dualrec.config.settings import SequenceSettings, Settings, overridden
from dualrec.data.prepare import Prepared
from dualrec.evaluation.answers import Answers, answers_of
from dualrec.evaluation.fitting import baseline_name, fitted_state, items_of
from dualrec.evaluation.protocols import Cases
from dualrec.sequence.artifact import WEIGHTS, sequence_name
from dualrec.storage.workspace import Workspace

SEQUENCE = "sequence model alone"

Asked = dict[str, Cases]  # by protocol


def scored(
    workspace: Workspace, data: Prepared, settings: Settings, asked: Asked
) -> dict[str, dict[str, Answers]]:
    """Every scoring system's answers by protocol: system to protocol to answers.

    Raises:
        WorkspaceError: a baseline has not been fitted, or the sequence model not trained.
    """
    items = ray.put(items_of(workspace, data, settings))
    cases = ray.put(asked)
    resources = settings.baselines.resources
    tasks = {}
    for name in chosen_systems(settings.baselines.systems):
        artifact = baseline_name(name, data, settings)
        workspace.require(artifact, "fit-baselines")
        parameters = workspace.description(artifact)["parameters"]
        state = ray.put(fitted_state(workspace, artifact))
        task = _of_baseline.options(num_cpus=resources.cpus)
        tasks[name] = task.remote(name, parameters, state, items, cases, resources.threads)
    for name, own in sequence_models(settings).items():
        weights = ray.put(
            workspace.read_bytes(f"{workspace.content(sequence_name(data, own))}/{WEIGHTS}")
        )
        task = _of_sequence_model.options(num_cpus=resources.cpus)
        tasks[name] = task.remote(weights, own.sequence, items, cases, resources.threads)
    return dict(zip(tasks, ray.get(list(tasks.values())), strict=True))


def sequence_models(settings: Settings) -> dict[str, Settings]:
    """The settings of every sequence model of a table by the name of its row: the one in force, and
    other presets."""
    presets = [
        one for one in settings.evaluation.sequence_presets if one != settings.sequence.preset
    ]
    others = {
        f"{SEQUENCE}, {one} network": overridden(settings, [f"sequence.preset={one}"])
        for one in presets
    }
    return {SEQUENCE: settings} | others


def sequence_scorer(predictor: Any, item_ids: np.ndarray) -> Scorer:
    """The sequence model's probabilities as a baseline's scores."""

    def score(histories: Histories) -> np.ndarray:
        probabilities = predictor.probabilities([item_ids[numbers - 1] for numbers in histories])
        return np.asarray(probabilities.numpy())

    return score


@ray.remote
def _of_baseline(
    name: str,
    parameters: dict[str, Any],
    state: dict[str, np.ndarray],
    items: Items,
    asked: Asked,
    threads: int,
) -> dict[str, Answers]:
    import torch

    torch.set_num_threads(threads)
    writable = {key: np.array(array) for key, array in state.items()}
    scorer = baseline(name).scorer(writable, items, parameters)
    return {protocol: answers_of(scorer, cases) for protocol, cases in asked.items()}


@ray.remote
def _of_sequence_model(
    weights: bytes, settings: SequenceSettings, items: Items, asked: Asked, threads: int
) -> dict[str, Answers]:
    import torch

    from dualrec.sequence.predict import SequencePredictor

    torch.set_num_threads(threads)
    scorer = sequence_scorer(SequencePredictor(weights, settings), items.item_ids)
    return {protocol: answers_of(scorer, cases) for protocol, cases in asked.items()}
