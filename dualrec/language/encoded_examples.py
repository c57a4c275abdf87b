"""The examples of a fine-tuning, with hints and tokens: histories and sequence models in, tables of
schema ENCODED out, in Ray actors. Knows no training.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy

from dualrec.assets.nodes import ModelPlace
from dualrec.config.settings import Settings
from dualrec.data.catalog import titles_of
from dualrec.data.prepare import Prepared
from dualrec.language.artifact import fold_settings
from dualrec.language.examples import (
    FUTURE_TARGETS,
    answerable_examples,
    check_training_count,
    check_validation_count,
    published_cuts,
    several_cuts,
    validation_cuts,
)
from dualrec.language.models import LanguageModel
from dualrec.language.out_of_fold import SequenceHints, fold_models
from dualrec.sequence.artifact import WEIGHTS, sequence_name
from dualrec.storage.workspace import Workspace

_BATCH = 256  # examples that an actor turns into tokens at a time

logger = logging.getLogger(__name__)


def encoded_examples(
    workspace: Workspace,
    data: Prepared,
    settings: Settings,
    preset: LanguageModel,
    location: ModelPlace,
) -> tuple[ray.data.Dataset, ray.data.Dataset]:
    """Training and validation examples (schema ENCODED), in memory.

    Raises:
        InputError: items are ranked, and candidates answer too few of the examples.
    """
    language, tuning = settings.language, settings.finetune
    cut = {"titles": language.titles, "seed": tuning.seed}
    trained_on_all = _adds_hints_of(
        [workspace.read_bytes(f"{workspace.content(sequence_name(data, settings))}/{WEIGHTS}")],
        settings,
    )
    published = tuning.examples == "published"
    future_targets = language.titles if published else max(FUTURE_TARGETS, language.titles)
    cut_training = (
        partial(published_cuts, **cut)
        if published
        else partial(
            several_cuts, future_targets=future_targets, per_user=tuning.examples_per_user, **cut
        )
    )
    # Validation comes first: its hints need no further model, and without an example of it training
    # is in vain.
    cut_validation = partial(validation_cuts, future_targets=future_targets, **cut)
    validation = _select_examples(
        workspace, data, settings, "validation", cut_validation, trained_on_all
    )
    out_of_fold = (
        trained_on_all
        if published
        else _adds_hints_of(fold_models(workspace, data, settings), fold_settings(settings))
    )
    training = _select_examples(workspace, data, settings, "train", cut_training, out_of_fold)
    encode = partial(
        _encoded,
        settings=settings,
        preset=preset,
        location=location,
        titles=ray.put(titles_of(data.catalog)),
    )
    return encode(training).materialize(), encode(validation).materialize()


def _select_examples(
    workspace: Workspace,
    data: Prepared,
    settings: Settings,
    split: str,
    cuts: Callable[[pa.Table], pa.Table],
    hinted: Callable[[ray.data.Dataset], ray.data.Dataset],
) -> ray.data.Dataset:
    """The examples of a split with their hints, as many as the settings want; where items are
    ranked, in memory.

    Raises:
        InputError: items are ranked, and candidates answer too few.
    """
    most = (
        settings.finetune.max_examples
        if split == "train"
        else settings.finetune.validation_examples
    )
    examples = data.read_histories(workspace, split).map_batches(
        cuts, batch_format="pyarrow", batch_size=None
    )
    if settings.language.mode != "rank":
        return hinted(_sample(examples, most))
    chosen = _sample(_with_an_answer(hinted(examples), split, settings), most).materialize()
    check = check_training_count if split == "train" else check_validation_count
    check(chosen.count(), settings)
    return chosen


def _sample(examples: ray.data.Dataset, most: int) -> ray.data.Dataset:
    return examples.sort("order").limit(most) if most else examples


def _adds_hints_of(
    weights: list[bytes], settings: Settings
) -> Callable[[ray.data.Dataset], ray.data.Dataset]:
    """Return what adds the hints of sequence models, trained with these settings, to examples."""
    count = settings.language.rank_candidates if settings.language.mode == "rank" else 1
    return partial(
        _map_with_actors,
        actor=SequenceHints,
        cpus=0.2,
        weights=ray.put(weights),
        settings=settings.sequence,
        count=count,
    )


def _with_an_answer(examples: ray.data.Dataset, split: str, settings: Settings) -> ray.data.Dataset:
    """The hinted examples that can be answered by one of their candidates. Says how many cannot."""
    examples = examples.materialize()
    answerable = examples.map_batches(
        answerable_examples, batch_format="pyarrow", batch_size=None
    ).materialize()
    total = examples.count()
    logger.info(
        f"{total - answerable.count()} of {total} {split} examples are left out: none of the "
        f"movies after their cuts is "
        f"among the sequence model's first {settings.language.rank_candidates}"
    )
    return answerable


def _encoded(
    examples: ray.data.Dataset,
    titles: "ray.ObjectRef[dict[int, str]]",
    settings: Settings,
    preset: LanguageModel,
    location: ModelPlace,
) -> ray.data.Dataset:
    arguments = {
        "location": location,
        "preset": preset,
        "language": settings.language,
        "finetune": settings.finetune,
    }
    return _map_with_actors(examples, _EncodeActor, 0.1, titles=titles, **arguments)


def _map_with_actors(
    examples: ray.data.Dataset, actor: type, cpus: float, **arguments: Any
) -> ray.data.Dataset:
    return examples.map_batches(
        actor,
        fn_constructor_kwargs=arguments,
        batch_size=_BATCH,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=1),
        num_cpus=cpus,
    )


class _EncodeActor:
    """Loads the tokenizer where the actor runs, not in the driver."""

    def __init__(
        self, location: ModelPlace, titles: "ray.ObjectRef[dict[int, str]]", **arguments: Any
    ) -> None:
        from dualrec.language.encode import ExampleEncoder

        self.encode = ExampleEncoder(str(location.folder()), titles=ray.get(titles), **arguments)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self.encode(batch)
