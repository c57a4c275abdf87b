"""The job `train-sequence`: histories in; models/sequence/VERSION out. Trained by Ray Train on any
number of workers."""

import json
import logging
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import ray.data
from ray.train import Checkpoint, get_dataset_shard

from dualrec.cluster.metrics import TrainingMetrics
from dualrec.cluster.model_card import CARD
from dualrec.cluster.progress import INTERVAL_S, Progress
from dualrec.cluster.session import ray_session
from dualrec.cluster.summary import Summary
from dualrec.cluster.tracking import check_tracking, track, write_tensorboard
from dualrec.cluster.training import begin_worker, fit, keep_files, report_epoch
from dualrec.config.settings import SequenceSettings, Settings
from dualrec.data.prepare import Prepared, prepared
from dualrec.data.sample import at_most
from dualrec.sequence.artifact import (
    METRICS,
    TENSORBOARD,
    WEIGHTS,
    sequence_card,
    sequence_name,
    sequence_summary,
)
from dualrec.sequence.batches import GROUPED, batches_of_like_length
from dualrec.sequence.chunks import chunk_histories, target_counts
from dualrec.sequence.features import ItemFeatures, item_features
from dualrec.sequence.state import TrainingState
from dualrec.storage.workspace import Workspace

logger = logging.getLogger(__name__)


def train_sequence(settings: Settings, force: bool = False) -> Summary:
    """Train the sequence model on the training users, unless it is there.

    Raises:
        WorkspaceError: there are no histories, or the workspace cannot be written.
        SettingsError: an MLflow server is set, and MLflow is not installed.
        DualrecError: more workers died than `sequence.resources.max_failures`.
    """
    check_tracking(settings.tracking)
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    name = sequence_name(data, settings)
    state = "already there"
    if not workspace.has(name) or force:
        with ray_session(settings.cluster):
            _train(workspace, data, settings, name)
        metrics = json.loads(workspace.read_bytes(f"{workspace.content(name)}/{METRICS}"))
        track(
            settings.tracking,
            name,
            {"sequence": settings.sequence.model_dump(mode="json")},
            metrics,
        )
        state = "written"
    return sequence_summary(workspace, name, state)


def fit_sequence_model(
    training: ray.data.Dataset,
    validation: ray.data.Dataset,
    features: ItemFeatures,
    settings: SequenceSettings,
    storage: str,
    filesystem: pafs.FileSystem | None = None,
) -> Checkpoint:
    """Train on histories (schema HISTORIES) and return a checkpoint with the best epoch's weights
    and all metrics.

    Args:
        storage: where checkpoints lie while it runs; a killed worker resumes from there.

    Raises:
        DualrecError: more workers died than `resources.max_failures`.
    """
    judging = at_most(validation, settings.validation_users, settings.seed)
    cut = partial(chunk_histories, features=features, length=settings.chunk_length)
    datasets = {
        name: dataset.map_batches(cut, batch_format="pyarrow", batch_size=None).materialize()
        for name, dataset in (("training", training), ("validation", judging))
    }
    counts = _counts(datasets["training"], len(features.item_ids)) if settings.negatives else None
    config = {
        "settings": settings,
        "features": features,
        "counts": counts,
        "targets": datasets["training"].sum("size"),
    }
    return fit(
        "train-sequence", train_loop, config, datasets, settings.resources, storage, filesystem
    )


def train_loop(config: dict[str, Any]) -> None:
    """What each worker runs: epochs over its shard, a checkpoint after each, until the end or an
    early stop."""
    import torch
    from ray.train.torch import get_device, prepare_model

    from dualrec.sequence.ensemble import SequenceEnsemble
    from dualrec.sequence.epoch import evaluate_epoch, train_epoch
    from dualrec.sequence.loss import SummedLoss

    settings: SequenceSettings = config["settings"]
    rank, workers = begin_worker(settings.resources)
    device = get_device()
    torch.manual_seed(settings.seed)
    network = SequenceEnsemble(config["features"], settings)
    optimizer_of = partial(
        torch.optim.AdamW, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    progress, shown = TrainingState.resume(network), TrainingMetrics("train-sequence")
    summed_loss = SummedLoss(network, settings, config["counts"])
    # What is known of the items never changes, so that no worker need hear of it at every step.
    model = prepare_model(summed_loss, parallel_strategy_kwargs={"broadcast_buffers": False})
    optimizer = optimizer_of(model.parameters())
    if progress.optimizer:
        optimizer.load_state_dict(progress.optimizer)
    training, validation = get_dataset_shard("training"), get_dataset_shard("validation")
    batch_size = max(settings.batch_size // workers, 1)
    for epoch in range(progress.epoch + 1, settings.epochs + 1):
        if progress.epochs_without_gain >= settings.patience:
            break
        torch.manual_seed(settings.seed + 1000 * epoch + rank)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, epoch)
        started = time.perf_counter()
        groups = training.iter_batches(
            batch_size=batch_size * GROUPED,
            local_shuffle_buffer_size=max(batch_size * 64, 4096),
            local_shuffle_seed=settings.seed + epoch,
        )
        batches = batches_of_like_length(groups, batch_size, settings.seed + epoch)
        told = (
            told_batches(batches, f"epoch {epoch}/{settings.epochs}", config["targets"], workers)
            if rank == 0
            else batches
        )
        trained = train_epoch(model, told, optimizer, device, workers).share()
        seconds = time.perf_counter() - started
        held_out = (
            batch
            for number, batch in enumerate(validation.iter_batches(batch_size=settings.batch_size))
            if number % workers == rank
        )
        validated = evaluate_epoch(summed_loss, held_out, device).share()
        metrics = {"epoch": epoch, **trained.means("train"), **validated.means("validation")}
        metrics |= {"seconds": seconds, "targets_per_second": trained.targets / seconds}
        metrics["waited_for_input"] = (
            trained.waited_s / workers / seconds
        )  # the workers' mean share of the time
        progress.add(metrics, network, optimizer)
        if rank == 0:
            logger.info(_line(metrics, settings.epochs))
            shown.told(metrics, rate="targets_per_second")
        _report(config, progress, metrics, rank)


def told_batches(
    batches: Iterable[dict[str, np.ndarray]], epoch: str, targets: int, workers: int
) -> Iterator[dict[str, np.ndarray]]:
    """Hand batches on, and log every half minute how far the epoch is: all workers are about as far
    as this one."""
    started = last = time.monotonic()
    done = 0
    for batch in batches:
        yield batch
        done += int(batch["size"].sum()) * workers
        now = time.monotonic()
        if now - last >= INTERVAL_S:
            progress = Progress(done, done, now - started)
            logger.info(f"{epoch}: {progress.line(targets, 'targets')}")
            last = now


def learning_rate(settings: SequenceSettings, epoch: int) -> float:
    """The rate of an epoch, from 1. Under `cosine` it falls along half a wave (Loshchilov and
    Hutter 2017)."""
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / settings.epochs)) / 2


def _counts(chunks: ray.data.Dataset, items: int) -> np.ndarray:
    """How often each item is a target, int64 (items,)."""
    counted = chunks.map_batches(
        partial(target_counts, items=items), batch_format="numpy", batch_size=None
    )
    return np.sum(
        [batch["counts"].sum(0) for batch in counted.iter_batches(batch_size=None)], axis=0
    )


def _report(
    config: dict[str, Any], progress: TrainingState, metrics: dict[str, float], rank: int
) -> None:
    if rank != 0:
        report_epoch(config, metrics, None)
        return
    with tempfile.TemporaryDirectory() as folder:
        progress.save(Path(folder))
        report_epoch(config, metrics, Path(folder))


def _line(metrics: dict[str, float], epochs: int) -> str:
    left = (epochs - metrics["epoch"]) * metrics["seconds"]
    return (
        f"epoch {metrics['epoch']:.0f}/{epochs}: loss {metrics['train_loss']:.3f}, validation loss "
        f"{metrics['validation_loss']:.3f}, accuracy {metrics['validation_accuracy']:.2%}, top-5 "
        f"{metrics['validation_top5_accuracy']:.2%}, {metrics['targets_per_second']:,.0f} targets/s, waited for "
        f"input {metrics['waited_for_input']:.0%}, at most {left / 60:.1f} min left"
    )


def _train(workspace: Workspace, data: Prepared, settings: Settings, name: str) -> None:
    features = item_features(data.catalog, settings.sequence)
    description: dict[str, Any] = {
        "data_version": data.version,
        "settings": settings.sequence.model_dump(mode="json"),
    }
    with workspace.writing(name, description) as folder:
        running = f"{folder}/running"
        checkpoint = fit_sequence_model(
            data.read_histories(workspace, "train"),
            data.read_histories(workspace, "validation"),
            features,
            settings.sequence,
            running,
            workspace.filesystem,
        )
        keep_files(
            checkpoint,
            {file: f"{folder}/{file}" for file in (WEIGHTS, METRICS)},
            workspace.filesystem,
        )
        workspace.filesystem.delete_dir(running)
        metrics = json.loads(workspace.read_bytes(workspace.name_of(f"{folder}/{METRICS}")))
        with tempfile.TemporaryDirectory() as local:
            Path(local, CARD).write_text(sequence_card(name, data, settings, metrics))
            write_tensorboard(metrics, Path(local, TENSORBOARD))
            pafs.copy_files(local, folder, destination_filesystem=workspace.filesystem)
