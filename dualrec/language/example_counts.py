"""How many examples histories give, from their lengths alone: known before a model or Ray is
started.

The rules are those of `examples.py`. Where items are ranked, the lengths give the most there can
be: examples that no candidate answers are left out once the sequence model has named the
candidates.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dualrec.config.settings import Settings
from dualrec.data.prepare import Prepared
from dualrec.errors import InputError
from dualrec.language.examples import LAST
from dualrec.storage.filesystems import translate_storage_errors
from dualrec.storage.workspace import Workspace

ROWS_AT_A_TIME, BYTES_AT_A_TIME = 4096, 1 << 20


def check_example_counts(workspace: Workspace, data: Prepared, settings: Settings) -> None:
    """Read the lengths of the histories until there are enough examples for one step and for
    validation.

    Raises:
        InputError: there are too few; counts them.
    """
    titles, most = settings.language.titles, settings.finetune.max_examples
    training = _count(
        history_lengths(workspace, data, "train"),
        lambda lengths: training_examples(lengths, settings),
        settings.finetune.batch_size,
    )
    check_training_count(min(training, most) if most else training, settings)
    validation = _count(
        history_lengths(workspace, data, "validation"),
        lambda lengths: validation_examples(lengths, titles),
        1,
    )
    check_validation_count(validation, settings)


def check_training_count(examples: int, settings: Settings) -> None:
    """Raise an InputError where there are too few training examples for one step."""
    needed = settings.finetune.batch_size
    if examples < needed:
        shortest = (
            LAST if settings.finetune.examples == "published" else settings.language.titles
        ) + 1
        raise InputError(
            f"there are {examples} training examples, and one step takes {needed}: bring more training users with at "
            f"least {shortest} movies, raise finetune.examples_per_user ({settings.finetune.examples_per_user}) or "
            f"finetune.max_examples ({settings.finetune.max_examples}), or lower finetune.batch_size"
        )


def check_validation_count(examples: int, settings: Settings) -> None:
    """Raise an InputError where there is no validation example."""
    if examples == 0:
        raise InputError(
            f"no validation user has {LAST + settings.language.titles + 1} movies and, where items are ranked, one of the "
            "next among them, so no epoch can be chosen: bring longer histories, or raise data.validation_fraction"
        )


def training_examples(lengths: np.ndarray, settings: Settings) -> np.ndarray:
    """The examples that training histories of these lengths give, int64 (n,): as several_cuts or
    published_cuts cut them."""
    if settings.finetune.examples == "published":
        return (lengths > LAST).astype(np.int64)
    return np.clip(lengths - settings.language.titles, 0, settings.finetune.examples_per_user)


def validation_examples(lengths: np.ndarray, titles: int) -> np.ndarray:
    """The examples that validation histories of these lengths give, int64 (n,): as validation_cuts
    cuts them."""
    return (lengths > LAST + titles).astype(np.int64)


def history_lengths(workspace: Workspace, data: Prepared, split: str) -> Iterator[np.ndarray]:
    """The number of movies in each history of a split, int64, some thousand histories at a time.

    Raises:
        WorkspaceError: a file cannot be read.
    """
    for path in workspace.parquet_files(f"{workspace.content(data.histories)}/split={split}"):
        with (
            translate_storage_errors(path),
            pq.ParquetFile(
                path, filesystem=workspace.filesystem, buffer_size=BYTES_AT_A_TIME
            ) as file,
        ):
            for batch in file.iter_batches(ROWS_AT_A_TIME, columns=["item_ids"]):
                yield (
                    pc.list_value_length(batch.column(0))
                    .to_numpy(zero_copy_only=False)
                    .astype(np.int64)
                )


def _count(
    lengths: Iterator[np.ndarray], examples: Callable[[np.ndarray], np.ndarray], enough: int
) -> int:
    """The number of examples; where it exceeds `enough`, some number that does."""
    total = 0
    for some in lengths:
        total += int(examples(some).sum())
        if total >= enough:
            break
    return total
