"""A training run under Ray Train, on workers or in this process, with its shards and checkpoints.
Knows no model and no users."""

import copy
import ctypes
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import ray.data
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    DataConfig,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    get_context,
    report,
)
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from dualrec.cluster.logs import forward_worker_logs
from dualrec.config.settings import TrainingResources
from dualrec.errors import DualrecError

# On CPUs. glibc gives large blocks back to the system after each use and has every page of the next
# one cleared anew; a process that keeps them fine-tunes faster, by a tenth to two fifths
# (docs/experiments.md).
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 30),
}
# The same for a process that runs already, by mallopt(3): its parameter, the value, and glibc's own
# value.
_MALLOPT = ((-4, 0, 65536), (-1, 2**31 - 1, 128 << 10), (-2, 1 << 30, 128 << 10))
_CHECKPOINTS = (
    "checkpoints"  # where a loop's configuration names the folder of a run in this process
)


def fit(
    name: str,
    train_loop: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    datasets: dict[str, ray.data.Dataset],
    resources: TrainingResources,
    storage: str,
    filesystem: pafs.FileSystem | None = None,
    environment: dict[str, str] | None = None,
) -> Checkpoint:
    """Run a loop on every worker, or in this process where there are none, and return its last
    checkpoint.

    The workers share the dataset "training" out, in an order that stays the same, and each sees the
    others whole.

    Args:
        name: the run's, for the dashboard and for errors.
        train_loop: reports each epoch by `report_epoch`.
        storage: where checkpoints lie while it runs; a killed worker resumes from the last.
        environment: variables of the workers' processes.

    Raises:
        DualrecError: the loop failed, or more workers died than `resources.max_failures`.
    """
    environment = environment or {}
    if resources.workers == 0:
        checkpoints = CheckpointFolder(f"{storage}/{name}", filesystem)
        return _fit_in_process(name, train_loop, config, datasets, checkpoints, environment)
    from ray.train.torch import TorchTrainer

    options = copy.copy(ray.data.DataContext.get_current().execution_options)
    options.preserve_order = True
    trainer = TorchTrainer(
        train_loop,
        train_loop_config=config,
        datasets=datasets,
        dataset_config=DataConfig(datasets_to_split=["training"], execution_options=options),
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.use_gpu,
            resources_per_worker={
                "CPU": resources.cpus_per_worker,
                **({"GPU": 1} if resources.use_gpu else {}),
            },
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            worker_runtime_env={"env_vars": _environment(resources) | environment},
        ),
    )
    try:
        checkpoint = trainer.fit().checkpoint
    except TrainingFailedError as error:
        raise DualrecError(f"{name} failed: {error}") from error
    assert checkpoint is not None, "a finished run has reported at least one epoch"
    return checkpoint


def _environment(resources: TrainingResources) -> dict[str, str]:
    return {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", **({} if resources.use_gpu else KEEP_MEMORY)}


@dataclass
class CheckpointFolder:
    """The folder of the last checkpoint of a run in this process: Ray Train's local mode copies
    none anywhere."""

    path: str
    filesystem: pafs.FileSystem | None
    saved: int = 0

    def save(self, folder: Path) -> Checkpoint:
        """Copy a folder here in place of the one before."""
        filesystem = self.filesystem or pafs.LocalFileSystem()
        previous, path = (
            f"{self.path}/checkpoint_{number:06d}" for number in (self.saved - 1, self.saved)
        )
        filesystem.create_dir(path, recursive=True)
        pafs.copy_files(str(folder), path, destination_filesystem=filesystem)
        if self.saved:
            filesystem.delete_dir(previous)
        self.saved += 1
        return Checkpoint(path, filesystem)


def _fit_in_process(
    name: str,
    train_loop: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    datasets: dict[str, ray.data.Dataset],
    checkpoints: CheckpointFolder,
    environment: dict[str, str],
) -> Checkpoint:
    """Run the loop by Ray Train's local mode: no process starts and nothing is polled, which costs
    15 s and more a run."""
    # Not TorchTrainer: its local mode ends the process group that DeepSpeed goes on to use in the
    # next run.
    trainer = DataParallelTrainer(
        train_loop,
        train_loop_config={**config, _CHECKPOINTS: checkpoints},
        datasets=datasets,
        scaling_config=ScalingConfig(num_workers=0),
        run_config=RunConfig(name=name),
    )
    with _worker_environment(environment):
        checkpoint = trainer.fit().checkpoint
    assert checkpoint is not None, "a finished run has reported at least one epoch"
    return checkpoint


@contextmanager
def _worker_environment(environment: dict[str, str]) -> Iterator[None]:
    """Set a worker's variables and malloc parameters in this process; restore them, the threads and
    the random state afterwards."""
    import torch

    before = {name: os.environ.get(name) for name in environment}
    threads = torch.get_num_threads()
    os.environ.update(environment)
    _mallopt({parameter: value for parameter, value, _ in _MALLOPT})
    try:
        with torch.random.fork_rng():
            yield
    finally:
        _mallopt({parameter: default for parameter, _, default in _MALLOPT})
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _mallopt(values: dict[int, int]) -> None:
    """Set parameters of glibc's malloc; nothing on other C libraries."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in values.items():
            mallopt(parameter, value)


def begin_worker(resources: TrainingResources) -> tuple[int, int]:
    """Forward a worker's log to the job and set its threads; return its rank and the world size."""
    import torch

    if resources.workers:
        forward_worker_logs()
        for noisy in ("ray.train", "ray.data"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
    if resources.threads:
        torch.set_num_threads(resources.threads)
    context = get_context()
    return context.get_world_rank(), context.get_world_size()


def report_epoch(config: dict[str, Any], metrics: dict[str, Any], folder: Path | None) -> None:
    """Report an epoch to Ray Train. Collective: call it on all ranks, or it deadlocks.

    Args:
        config: what the loop was called with.
        folder: this worker's part of the checkpoint; none where it has no part.
    """
    if folder is None:
        report(metrics)
    elif _CHECKPOINTS in config:
        report(metrics, checkpoint=config[_CHECKPOINTS].save(folder))
    else:
        report(metrics, checkpoint=Checkpoint.from_directory(str(folder)))


def save_files(checkpoint: Checkpoint, files: dict[str, str], filesystem: pafs.FileSystem) -> None:
    """Copy files out of a checkpoint, each to its own path."""
    with checkpoint.as_directory() as local:
        for file, path in files.items():
            with filesystem.open_output_stream(path) as stream:
                stream.write(Path(local, file).read_bytes())
