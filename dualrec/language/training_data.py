"""Two sequence models, each trained on one half of the training users, that give the other half's
hints.

A hint from a model that has seen its own answer would teach the language model a trust that it does
not deserve at night. Each is one network, since the first choice is all that is asked of it. The
two are kept in the workspace, so that another fine-tuning with the same sequence settings finds
them.
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
from dualrec.cluster.training import keep_files
from dualrec.config.settings import SequenceSettings, Settings
from dualrec.data.catalog import titles_of
from dualrec.data.prepare import Prepared
from dualrec.language.artifact import (
    fold_settings,
    fold_version,
)
from dualrec.language.examples import (
    FOLDS,
    FUTURE_TARGETS,
    answerable_examples,
    check_training_count,
    check_validation_count,
    of_fold,
    published_cuts,
    several_cuts,
    validation_cuts,
)
from dualrec.language.models import LanguageModel
from dualrec.sequence.artifact import WEIGHTS, sequence_name
from dualrec.sequence.features import item_features
from dualrec.sequence.train import fit_sequence_model
from dualrec.storage.workspace import Workspace

_BATCH = 256  # examples that an actor turns into tokens at a time


def build_training_data(
    workspace: Workspace,
    data: Prepared,
    settings: Settings,
    preset: LanguageModel,
    place: ModelPlace,
) -> tuple[ray.data.Dataset, ray.data.Dataset]:
    """Training and validation examples (schema ENCODED), in memory.

    Raises:
        InputError: items are ranked, and candidates answer too few of the examples.
    """
    language, tuning = settings.language, settings.finetune
    cut = {"titles": language.titles, "seed": tuning.seed}
    trained_on_all = _hinted_by(
        [workspace.read_bytes(f"{workspace.content(sequence_name(data, settings))}/{WEIGHTS}")],
        settings,
    )
    published = tuning.examples == "published"
    ahead = language.titles if published else max(FUTURE_TARGETS, language.titles)
    cut_training = (
        partial(published_cuts, **cut)
        if published
        else partial(several_cuts, ahead=ahead, per_user=tuning.examples_per_user, **cut)
    )
    # Validation comes first: its hints need no further model, and without an example of it training
    # is in vain.
    cut_validation = partial(validation_cuts, ahead=ahead, **cut)
    validation = _chosen(workspace, data, settings, "validation", cut_validation, trained_on_all)
    out_of_fold = (
        trained_on_all
        if published
        else _hinted_by(fold_models(workspace, data, settings), fold_settings(settings))
    )
    training = _chosen(workspace, data, settings, "train", cut_training, out_of_fold)
    encode = partial(
        _encoded,
        settings=settings,
        preset=preset,
        place=place,
        titles=ray.put(titles_of(data.catalog)),
    )
    return encode(training).materialize(), encode(validation).materialize()


def _chosen(
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


def _hinted_by(
    weights: list[bytes], settings: Settings
) -> Callable[[ray.data.Dataset], ray.data.Dataset]:
    """Return what adds the hints of sequence models, trained with these settings, to examples."""
    count = settings.language.rank_candidates if settings.language.mode == "rank" else 1
    return partial(
        _through,
        actor=SequenceHints,
        cpus=0.2,
        weights=ray.put(weights),
        settings=settings.sequence,
        count=count,
    )


def _with_an_answer(examples: ray.data.Dataset, split: str, settings: Settings) -> ray.data.Dataset:
    """The hinted examples that can be answered by one of their candidates. Says how many cannot."""
    examples = examples.materialize()
    kept = examples.map_batches(
        answerable_examples, batch_format="pyarrow", batch_size=None
    ).materialize()
    total = examples.count()
    logger.info(
        f"{total - kept.count()} of {total} {split} examples are left out: none of the movies after their cuts is "
        f"among the sequence model's first {settings.language.rank_candidates}"
    )
    return kept


def _encoded(
    examples: ray.data.Dataset,
    titles: "ray.ObjectRef[dict[int, str]]",
    settings: Settings,
    preset: LanguageModel,
    place: ModelPlace,
) -> ray.data.Dataset:
    arguments = {
        "place": place,
        "preset": preset,
        "language": settings.language,
        "finetune": settings.finetune,
    }
    return _through(examples, _EncodeActor, 0.1, titles=titles, **arguments)


def _through(
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
        self, place: ModelPlace, titles: "ray.ObjectRef[dict[int, str]]", **arguments: Any
    ) -> None:
        from dualrec.language.encode import ExampleEncoder

        self.encode = ExampleEncoder(str(place.folder()), titles=ray.get(titles), **arguments)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self.encode(batch)


logger = logging.getLogger(__name__)


def fold_models(workspace: Workspace, data: Prepared, settings: Settings) -> list[bytes]:
    """The weights of the model for each fold, trained on the users of the other; trained now unless
    they are there.

    They are to be read with the settings that `artifact.fold_settings` gives.

    Raises:
        DualrecError: training failed.
    """
    name = f"models/sequence-folds/{fold_version(data, settings)}"
    if not workspace.has(name):
        own = fold_settings(settings)
        made: dict[str, Any] = {"data_version": data.version, "seed": settings.finetune.seed}
        made["settings"] = own.sequence.model_dump(mode="json")
        with workspace.writing(name, made) as folder:
            for fold in range(FOLDS):
                logger.info(f"out-of-fold hints: training sequence model {fold + 1} of {FOLDS}")
                _train_without(workspace, data, own, fold, folder)
    content = workspace.content(name)
    return [workspace.read_bytes(f"{content}/{_file(fold)}") for fold in range(FOLDS)]


def _train_without(
    workspace: Workspace, data: Prepared, settings: Settings, fold: int, folder: str
) -> None:
    training = data.read_histories(workspace, "train").map_batches(
        partial(_others, fold=fold, seed=settings.finetune.seed),
        batch_format="pyarrow",
        batch_size=None,
    )
    running = f"{folder}/running-{fold}"
    checkpoint = fit_sequence_model(
        training,
        data.read_histories(workspace, "validation"),
        item_features(data.catalog, settings.sequence),
        settings.sequence,
        running,
        workspace.filesystem,
    )
    keep_files(checkpoint, {WEIGHTS: f"{folder}/{_file(fold)}"}, workspace.filesystem)
    workspace.filesystem.delete_dir(running)


def _others(histories: pa.Table, fold: int, seed: int) -> pa.Table:
    return pa.concat_tables(
        of_fold(histories, other, seed) for other in range(FOLDS) if other != fold
    )


def _file(fold: int) -> str:
    return f"fold-{fold}.safetensors"


class SequenceHints:
    """Adds to examples what the sequence model expects at the cut, from the prefix alone. A Ray
    actor's.

    Args:
        weights: of the model for each fold; one for all folds where no fold matters.
        settings: those that these models were trained with.
        count: how many of its best items to name.
    """

    def __init__(
        self,
        weights: "ray.ObjectRef[list[bytes]]",
        settings: SequenceSettings,
        count: int = 1,
        **options: Any,
    ) -> None:
        from dualrec.sequence.predict import SequencePredictor

        first = settings.model_copy(update={"top_k": count})
        self.models = [SequencePredictor(one, first, **options) for one in ray.get(weights)]

    def __call__(self, examples: pa.Table) -> pa.Table:
        """Append sequence_item_ids list<int64> and next_probabilities list<float32>.

        The first are the best `count` items that the user had not watched, fewer where nearly
        everything is watched; the second says how likely each of next_ids was to come.
        """
        import numpy as np

        histories, following = (
            [np.asarray(ids, np.int64) for ids in examples.column(name).to_pylist()]
            for name in ("item_ids", "next_ids")
        )
        model_of = examples.column("fold").to_numpy() % len(self.models)
        hints: list[Any] = [None] * len(examples)
        expected: list[Any] = [None] * len(examples)
        for number, model in enumerate(self.models):
            rows = np.flatnonzero(model_of == number).tolist()
            if not rows:
                continue
            probabilities = model.probabilities([histories[row] for row in rows])
            items, _ = model.best(probabilities)
            of_next = model.probabilities_of(probabilities, [following[row] for row in rows])
            for row, hint, values in zip(rows, items, of_next, strict=True):
                hints[row], expected[row] = hint, values
        return examples.append_column(
            "sequence_item_ids", pa.array(hints, pa.list_(pa.int64()))
        ).append_column("next_probabilities", pa.array(expected, pa.list_(pa.float32())))
