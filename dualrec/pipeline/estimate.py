"""Estimate how long `run` takes from the size of the data and the settings, before it starts.

The constants are seconds on two CPU cores without a GPU, for SmolLM2-135M: one run of the local
profile was measured and divided by the amount of work that its settings request
(docs/experiments.md). On other machines they are off by a factor. There is no estimate where a step
runs on a GPU or another language model is set.
"""

from dataclasses import dataclass

from dualrec.baselines.registry import ALWAYS, chosen_systems
from dualrec.config.settings import Settings
from dualrec.data.prepare import Prepared
from dualrec.data.requests import HELD_OUT
from dualrec.storage.workspace import Workspace

RAY_START_S = 8.0
PREPARE_START_S, PREPARE_S_PER_MILLION = 5.0, 1.2  # interactions
TRAINING_START_S = 3.0  # of a run in the job's own process
TARGETS_PER_SECOND = 25_000.0  # one network of the sequence model
FINETUNE_START_S = 40.0  # loading, encoding and merging
EXAMPLE_S = 0.54  # one training example of some 220 tokens, in bfloat16
VALIDATED_EXAMPLE_S = EXAMPLE_S / 3  # forward only
BASELINE_FIT_S_PER_100K = 50.0  # one trial of one system, by interactions
ENGINE_START_S, REQUEST_S = 50.0, 0.16  # one user's titles from a shortlist
EVALUATE_START_S = 7.0
MODEL = "smollm2-135m"  # whose seconds these are

# Users and interactions of the data sets that are known by name, as published.
KNOWN = {
    "ml-latest-small": (610, 100_836),
    "ml-100k": (943, 100_000),
    "ml-1m": (6_040, 1_000_209),
    "ml-10m": (69_878, 10_000_054),
    "ml-20m": (138_493, 20_000_263),
    "ml-25m": (162_541, 25_000_095),
    "ml-32m": (200_948, 32_000_204),
}


@dataclass(frozen=True)
class Size:
    """The size of a data set: users of each split, and the interactions of all users."""

    users: dict[str, int]
    interactions: int


def published_size(settings: Settings) -> Size | None:
    """Return the published size of a data set known by name; None for another."""
    if settings.data.source not in KNOWN:
        return None
    users, interactions = KNOWN[settings.data.source]
    train, validation = settings.data.train_fraction, settings.data.validation_fraction
    shares = {"train": train, "validation": validation, "test": 1 - train - validation}
    return Size({split: round(users * share) for split, share in shares.items()}, interactions)


def prepared_size(workspace: Workspace, data: Prepared) -> Size:
    """Return the size of prepared histories."""
    description = workspace.description(data.histories)
    return Size(description["users"], description["interactions"]["kept"])


def estimated_seconds(settings: Settings, size: Size) -> float | None:
    """Return the seconds of a `run` in an empty workspace; None if the constants do not apply.

    Raises:
        SettingsError: `baselines.systems` names an unknown system.
    """
    engine = settings.language.engine
    on_gpus = (
        engine.use_gpu or settings.sequence.resources.use_gpu or settings.finetune.resources.use_gpu
    )
    if on_gpus or settings.language.model != MODEL:
        return None
    prepare = PREPARE_START_S + PREPARE_S_PER_MILLION * size.interactions / 1e6
    fits = (
        len(set(chosen_systems(settings.baselines.systems)) - set(ALWAYS))
        * settings.baselines.trials
    )
    baselines = BASELINE_FIT_S_PER_100K * fits * size.interactions / 1e5
    trained = TRAINING_START_S + len(settings.sequence.members) * _network_s(settings, size)
    tuned = _finetune_s(settings, size) if settings.language.tuned == "current" else 0.0
    return (
        RAY_START_S
        + prepare
        + trained
        + tuned
        + baselines
        + _scoring_s(settings, size)
        + EVALUATE_START_S
    )


def _network_s(settings: Settings, size: Size) -> float:
    """Seconds of one network of the sequence model, over all epochs."""
    targets = size.interactions * size.users["train"] / max(sum(size.users.values()), 1)
    return targets * settings.sequence.epochs / TARGETS_PER_SECOND


def _finetune_s(settings: Settings, size: Size) -> float:
    tuning = settings.finetune
    examples = size.users["train"] * (tuning.examples_per_user if tuning.examples == "cuts" else 1)
    examples = min(examples, tuning.max_examples or examples)
    validated = min(tuning.validation_examples, size.users["validation"])
    # Out-of-fold hints: each half of the users trains one network, in a run of its own.
    folds = 2 * TRAINING_START_S + _network_s(settings, size) if tuning.examples == "cuts" else 0.0
    return (
        folds
        + FINETUNE_START_S
        + tuning.epochs * (examples * EXAMPLE_S + validated * VALIDATED_EXAMPLE_S)
    )


def _scoring_s(settings: Settings, size: Size) -> float:
    """Seconds of the pass that scores users and all cases, and of each variant's own pass."""
    chosen, serving = settings.evaluation, settings.recommend
    users = sum(size.users.values()) if serving.split == "all" else size.users[serving.split]
    users = min(users, serving.max_users or users)
    calibration = min(size.users["validation"], settings.ranking.calibration_users)
    test_users = min(size.users["test"], chosen.max_users or size.users["test"])
    seconds = ENGINE_START_S + REQUEST_S * (users + calibration)
    if not chosen.language:
        return seconds
    seconds += REQUEST_S * test_users * len(_requested_protocols(chosen.protocols))
    of_variants = [
        ENGINE_START_S
        + REQUEST_S
        * (
            test_users * len(_requested_protocols(chosen.variant_protocols))
            + calibration * variant.fused
        )
        for variant in chosen.variants
    ]
    return seconds + sum(of_variants)


def _requested_protocols(protocols: tuple[str, ...]) -> set[str]:
    """The protocols that need a request for each test user: candidates_20 reranks next_item's."""
    return {"next_item" if name == "candidates_20" else name for name in protocols} & set(HELD_OUT)
