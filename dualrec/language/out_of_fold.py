"""Out-of-fold predictions of the sequence model (cross-fitting), the hints of training examples.

The training users are split into folds; each fold's hints come from a model that was trained on the
other folds. A model that has seen its own answer would teach the language model a trust in hints
that does not hold at serving time. Each is one network, since only its first choice is needed. The
models are saved in the workspace, so that another fine-tuning with the same sequence settings
reuses them.
"""

import logging
from functools import partial
from typing import Any

import pyarrow as pa
import ray
import ray.data

from dualrec.cluster.training import save_files
from dualrec.config.settings import SequenceSettings, Settings
from dualrec.data.prepare import Prepared
from dualrec.language.artifact import (
    fold_settings,
    fold_version,
)
from dualrec.language.examples import (
    FOLDS,
    of_fold,
)
from dualrec.sequence.artifact import WEIGHTS
from dualrec.sequence.features import item_features
from dualrec.sequence.train import fit_sequence_model
from dualrec.storage.workspace import Workspace

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
        description: dict[str, Any] = {"data_version": data.version, "seed": settings.finetune.seed}
        description["settings"] = own.sequence.model_dump(mode="json")
        with workspace.writing(name, description) as folder:
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
    save_files(checkpoint, {WEIGHTS: f"{folder}/{_file(fold)}"}, workspace.filesystem)
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
        self.models = [SequencePredictor(model, first, **options) for model in ray.get(weights)]

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
