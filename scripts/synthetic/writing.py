"""A data set on disk, made by Ray tasks and put together in order; whole or not there at all."""

import resource
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ray

from dualrec.cluster.progress import Progress
from dualrec.errors import InputError

from .activity import Shape
from .catalog import Shelves, write_items
from .ratings import Chunk, make_rows, plan, to_csv

PROGRESS_S = 5.0
_HEADER = b"userId,movieId,rating,timestamp\n"
_NOTICE = "Made up by scripts/synthesize.py of dualrec: no rating of MovieLens is in it.\n{shape}, seed {seed}\n"


@dataclass(frozen=True)
class Written:
    """What writing took.

    Attributes:
        rows: ratings written.
        seconds: from the plan to the finished folder.
        peak_mib: the largest resident memory of the process that writes and of the largest task,
            each in MiB.
    """

    rows: int
    seconds: float
    peak_mib: tuple[float, float]


def check_free(folder: Path) -> None:
    """Raise an InputError if something is where the data set should be, or its place cannot be
    made."""
    if folder.exists():
        raise InputError(f"--out {folder} is there already: remove it, or name another folder")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"--out {folder}: make the folder {folder.absolute().parent} first")


def write_dataset(
    shape: Shape, seed: int, folder: Path, at_once: int, tell: Callable[[str], None]
) -> Written:
    """Write ratings.csv and movies.csv in the shape of ML-32M. Needs a Ray session.

    The folder has the suffix `.partial` until it is whole; one that an earlier run left is taken
    away.

    Args:
        at_once: chunks of users that are in work, or wait to be written, at the same time.
        tell: called every few seconds with a line of progress.

    Raises:
        InputError: there is no such data set, or the folder is there already.
    """
    check_free(folder)
    started = time.monotonic()
    catalog, chunks = plan(shape, seed)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        write_items(catalog, partial / "movies.csv")
        (partial / "README.txt").write_text(_NOTICE.format(shape=shape, seed=seed))
        rows, task_peak = _write_ratings(
            partial / "ratings.csv", chunks, catalog.shelves, seed, at_once, tell
        )
        assert rows == shape.ratings
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Written(rows, time.monotonic() - started, (_peak_mib(), task_peak))


def _write_ratings(
    path: Path,
    chunks: list[Chunk],
    shelves: Shelves,
    seed: int,
    at_once: int,
    tell: Callable[[str], None],
) -> tuple[int, float]:
    """Write the chunks in order; return the rows and the largest memory of a task in MiB."""
    total, rows, peak = sum(int(chunk.counts.sum()) for chunk in chunks), 0, 0.0
    first_rows, first_time, told = 0, 0.0, time.monotonic()
    with path.open("wb") as stream:
        stream.write(_HEADER)
        for chunk, (lines, task_peak) in zip(
            chunks, _made(chunks, shelves, seed, at_once), strict=True
        ):
            stream.write(lines)
            rows, peak, now = rows + int(chunk.counts.sum()), max(peak, task_peak), time.monotonic()
            if not first_time:
                first_rows, first_time = rows, now
            if now - told > PROGRESS_S:
                told = now
                tell(Progress(rows, rows - first_rows, now - first_time).line(total, "ratings"))
    return rows, peak


def _made(
    chunks: list[Chunk], shelves: Shelves, seed: int, at_once: int
) -> Iterator[tuple[bytes, float]]:
    """Make chunks by Ray tasks, a few at a time, and give them in order."""
    task, shared = ray.remote(_make), ray.put(shelves)
    waiting: deque[ray.ObjectRef] = deque()
    for chunk in chunks:
        if len(waiting) == at_once:
            yield ray.get(waiting.popleft())
        waiting.append(task.remote(chunk, shared, seed))
    while waiting:
        yield ray.get(waiting.popleft())


def _make(chunk: Chunk, shelves: Shelves, seed: int) -> tuple[bytes, float]:
    return to_csv(make_rows(chunk, shelves, seed)), _peak_mib()


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
