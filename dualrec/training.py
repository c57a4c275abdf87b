"""A training run under Ray Train: its workers, their shards and their checkpoints. Knows no model and no users."""

import copy
import logging
from collections.abc import Callable
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
)

from dualrec.errors import DualrecError
from dualrec.journal import tell_driver
from dualrec.settings import TrainingResources

# On CPUs. glibc gives large blocks back to the system after each use and has every page of the next one cleared anew;
# a process that keeps them fine-tunes faster, by a tenth to two fifths (docs/experiments.md).
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 30)}


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
    """Run a loop on every worker and return its last checkpoint.

    The workers share the dataset "training" out, in an order that stays the same, and each sees the others whole.

    Args:
        name: the run's, for the dashboard and for errors.
        storage: where checkpoints lie while it runs; a killed worker resumes from the last.
        environment: variables of the workers' processes.

    Raises:
        DualrecError: the loop failed, or more workers died than `resources.max_failures`.
    """
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
            resources_per_worker={"CPU": resources.cpus_per_worker, **({"GPU": 1} if resources.use_gpu else {})},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            worker_runtime_env={"env_vars": _environment(resources) | (environment or {})},
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


def begin_worker(resources: TrainingResources) -> tuple[int, int]:
    """Make a worker's log the job's and its threads as many as were asked for; return its rank and how many there are."""
    import torch

    tell_driver()
    for noisy in ("ray.train", "ray.data"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if resources.threads:
        torch.set_num_threads(resources.threads)
    context = get_context()
    return context.get_world_rank(), context.get_world_size()


def keep_files(checkpoint: Checkpoint, files: dict[str, str], filesystem: pafs.FileSystem) -> None:
    """Copy files out of a checkpoint, each to its own path."""
    with checkpoint.as_directory() as local:
        for file, path in files.items():
            with filesystem.open_output_stream(path) as stream:
                stream.write(Path(local, file).read_bytes())
