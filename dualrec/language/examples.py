"""What the language model learns from: a history up to a cut, and the movies after it; and how many
such examples histories give, from their lengths alone, before a model or Ray is started. Knows
tables; no model.

Training examples come from training users alone, whom no protocol ever holds out. Validation users
give one example each, from the part of their history that no protocol holds out. Test users give
none. Where items are ranked, the lengths give an upper bound: examples that no candidate answers
are left out once the sequence model has named the candidates.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dualrec.config.settings import Settings
from dualrec.data.prepare import Prepared
from dualrec.data.requests import HELD_OUT
from dualrec.data.splits import hashed
from dualrec.errors import InputError
from dualrec.storage.filesystems import translate_storage_errors
from dualrec.storage.workspace import Workspace

EXAMPLES = pa.schema(
    [
        ("user_id", pa.int64()),
        (
            "order",
            pa.uint64(),
        ),  # a seeded hash of user and cut: sorting by it shuffles, and its first rows are a sample
        ("fold", pa.int8()),  # which fold of the users this user is in
        ("item_ids", pa.list_(pa.int64())),  # the history before the cut, oldest first
        (
            "next_ids",
            pa.list_(pa.int64()),
        ),  # the movies after the cut, in order, of which the answer is made
    ]
)

FOLDS = 2
MAX_HELD_OUT = max(HELD_OUT.values())  # movies at the end of a history that some protocol holds out
FUTURE_TARGETS = HELD_OUT[
    "last_five"
]  # movies after a cut of which the most expected make the answer


def several_cuts(
    histories: pa.Table, titles: int, future_targets: int, per_user: int, seed: int
) -> pa.Table:
    """Up to `per_user` examples of each history, cut at different positions with at least `titles`
    movies after each.

    Cuts are sampled for each user by seed and id, so that they stay when other users come and
    go. A history that is too short for a movie before the cut and all titles after it gives none.

    Args:
        histories: schema HISTORIES, training users only.
        future_targets: how many of the movies after the cut the answer is chosen from; fewer
            where the history ends.

    Returns:
        Schema EXAMPLES.
    """
    _assert_only(histories, "train")
    rows = []
    for user_id, item_ids in _histories(histories):
        possible = np.arange(1, len(item_ids) - titles + 1)
        rng = np.random.default_rng([seed, int(hashed(np.array([user_id]), seed)[0])])
        for cut in sorted(rng.permutation(possible)[:per_user].tolist()):
            rows.append((user_id, item_ids, cut, future_targets))
    return _examples(rows, seed)


def published_cuts(histories: pa.Table, titles: int, seed: int) -> pa.Table:
    """One example of each history, as published: the first `titles` of the last five movies, in
    order, are the answer.

    What is earlier makes the prompt, of which the prompt shows the most recent movies.
    """
    _assert_only(histories, "train")
    rows = [
        (user_id, item_ids, len(item_ids) - MAX_HELD_OUT, titles)
        for user_id, item_ids in _histories(histories)
        if len(item_ids) > MAX_HELD_OUT
    ]
    return _examples(rows, seed)


def validation_cuts(histories: pa.Table, titles: int, future_targets: int, seed: int) -> pa.Table:
    """One example of each validation user: the answer is of the last movies before those that a
    protocol holds out.

    Args:
        future_targets: how many movies the answer is chosen from; at least `titles` where a
            history is short.
    """
    _assert_only(histories, "validation")
    rows = [
        (
            user_id,
            item_ids[:-MAX_HELD_OUT],
            max(len(item_ids) - MAX_HELD_OUT - future_targets, 1),
            future_targets,
        )
        for user_id, item_ids in _histories(histories)
        if len(item_ids) > MAX_HELD_OUT + titles
    ]
    return _examples(rows, seed)


def likeliest_targets(next_ids: list[int], probabilities: list[float], titles: int) -> list[int]:
    """The movies of an answer: of the next ones, those that the sequence model expects most, best
    first.

    A list is judged by the movies that a user watches soon, in whatever order, and a model that
    must name a few does best with those that can be predicted. The hint stands first wherever it
    comes true, so the model also learns how far to trust it.
    """
    order = sorted(range(len(next_ids)), key=lambda index: -probabilities[index])
    return [next_ids[index] for index in order[:titles]]


def first_watched_candidate(next_ids: list[int], candidates: list[int]) -> int | None:
    """Return the position of the candidate that the user watches first after the cut, or None where
    none of them is watched."""
    return next((candidates.index(item) for item in next_ids if item in candidates), None)


def answerable_examples(examples: pa.Table) -> pa.Table:
    """The examples whose sequence_item_ids hold one of their next_ids: the rest have nothing that
    could be ranked first."""
    columns = (examples.column(name).to_pylist() for name in ("next_ids", "sequence_item_ids"))
    answered = [not set(after).isdisjoint(shown) for after, shown in zip(*columns, strict=True)]
    return examples.filter(pa.array(answered, pa.bool_()))


def fold_of(user_ids: np.ndarray, seed: int) -> np.ndarray:
    """The half of the training users that each is in, 0 or 1, int8 (n,): by a seeded hash that no
    split shares."""
    return (hashed(user_ids, seed + 1_000_003) >> np.uint64(32)).astype(np.int64).astype(
        np.int8
    ) % FOLDS


def of_fold(histories: pa.Table, fold: int, seed: int) -> pa.Table:
    """The rows of the users in one fold."""
    return histories.filter(pa.array(fold_of(histories.column("user_id").to_numpy(), seed) == fold))


def _examples(rows: list[tuple[int, list[int], int, int]], seed: int) -> pa.Table:
    """Cut each (user, history, position of the cut, movies after it)."""
    users = np.array([user_id for user_id, *_ in rows], np.int64)
    cuts = np.array([cut for _, _, cut, _ in rows], np.int64)
    with np.errstate(over="ignore"):
        order = hashed((hashed(users, seed) + cuts.astype(np.uint64)).view(np.int64), seed)
    return pa.table(
        [
            pa.array(users),
            pa.array(order),
            pa.array(fold_of(users, seed)),
            pa.array([item_ids[:cut] for _, item_ids, cut, _ in rows], pa.list_(pa.int64())),
            pa.array(
                [item_ids[cut : cut + future_targets] for _, item_ids, cut, future_targets in rows],
                pa.list_(pa.int64()),
            ),
        ],
        schema=EXAMPLES,
    )


def _histories(histories: pa.Table) -> list[tuple[int, list[int]]]:
    columns = (histories.column(name).to_pylist() for name in ("user_id", "item_ids"))
    return list(zip(*columns, strict=True))


def _assert_only(histories: pa.Table, split: str) -> None:
    assert set(histories.column("split").to_pylist()) <= {split}, (
        f"examples were requested of users outside {split}"
    )


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
            MAX_HELD_OUT if settings.finetune.examples == "published" else settings.language.titles
        ) + 1
        raise InputError(
            f"there are {examples} training examples, and one step takes {needed}: bring more "
            f"training users with at "
            f"least {shortest} movies, raise finetune.examples_per_user "
            f"({settings.finetune.examples_per_user}) or "
            f"finetune.max_examples ({settings.finetune.max_examples}), or lower "
            f"finetune.batch_size"
        )


def check_validation_count(examples: int, settings: Settings) -> None:
    """Raise an InputError where there is no validation example."""
    if examples == 0:
        raise InputError(
            f"no validation user has {MAX_HELD_OUT + settings.language.titles + 1} movies and, "
            f"where items are ranked, one of the "
            "next among them, so no epoch can be chosen: bring longer histories, or raise "
            "data.validation_fraction"
        )


def training_examples(lengths: np.ndarray, settings: Settings) -> np.ndarray:
    """The examples that training histories of these lengths give, int64 (n,): as several_cuts or
    published_cuts cut them."""
    if settings.finetune.examples == "published":
        return (lengths > MAX_HELD_OUT).astype(np.int64)
    return np.clip(lengths - settings.language.titles, 0, settings.finetune.examples_per_user)


def validation_examples(lengths: np.ndarray, titles: int) -> np.ndarray:
    """The examples that validation histories of these lengths give, int64 (n,): as validation_cuts
    cuts them."""
    return (lengths > MAX_HELD_OUT + titles).astype(np.int64)


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
