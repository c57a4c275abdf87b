"""What each worker of `train-sequence` runs: epochs over its shard, a checkpoint after each.

Comes in: a configuration of settings, item features and counts, and Ray Train's data shards. Goes
out: checkpoints with metrics. Knows Ray Train; not workspaces or artifacts.
"""

import logging
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ray.train import get_dataset_shard

from dualrec.cluster.metrics import TrainingMetrics
from dualrec.cluster.progress import INTERVAL_S, Progress
from dualrec.cluster.training import begin_worker, report_epoch
from dualrec.config.settings import SequenceSettings
from dualrec.sequence.chunks import POOLED_BATCHES, ChunkBatch, length_bucketed_batches
from dualrec.sequence.state import TrainingState

logger = logging.getLogger(__name__)


def sequence_train_loop(config: dict[str, Any]) -> None:
    """Train on this worker's shard, with a checkpoint after each epoch, until the last epoch or an
    early stop.

    Collective: runs on all ranks. Each epoch reseeds, so that a resumed training draws the same.
    """
    import torch
    from ray.train.torch import get_device, prepare_model

    from dualrec.sequence.epoch import evaluate_sequence_epoch, train_sequence_epoch
    from dualrec.sequence.loss import EnsembleLoss
    from dualrec.sequence.network import SequenceEnsemble

    settings: SequenceSettings = config["settings"]
    rank, workers = begin_worker(settings.resources)
    device = get_device()
    torch.manual_seed(settings.seed)
    network = SequenceEnsemble(config["features"], settings)
    optimizer_of = partial(
        torch.optim.AdamW, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    state, live_metrics = TrainingState.resume(network), TrainingMetrics("train-sequence")
    summed_loss = EnsembleLoss(network, settings, config["counts"])
    # Item features are buffers that never change: no need to broadcast them at every step.
    model = prepare_model(summed_loss, parallel_strategy_kwargs={"broadcast_buffers": False})
    optimizer = optimizer_of(model.parameters())
    if state.optimizer:
        optimizer.load_state_dict(state.optimizer)
    training, validation = get_dataset_shard("training"), get_dataset_shard("validation")
    batch_size = max(settings.batch_size // workers, 1)
    for epoch in range(state.epoch + 1, settings.epochs + 1):
        if state.epochs_without_gain >= settings.patience:
            break
        torch.manual_seed(settings.seed + 1000 * epoch + rank)
        for group in optimizer.param_groups:
            group["lr"] = scheduled_learning_rate(settings, epoch)
        started = time.perf_counter()
        groups = training.iter_batches(
            batch_size=batch_size * POOLED_BATCHES,
            local_shuffle_buffer_size=max(batch_size * 64, 4096),
            local_shuffle_seed=settings.seed + epoch,
        )
        batches = length_bucketed_batches(groups, batch_size, settings.seed + epoch)
        steps = (
            logged_batches(batches, f"epoch {epoch}/{settings.epochs}", config["targets"], workers)
            if rank == 0
            else batches
        )
        trained = train_sequence_epoch(model, steps, optimizer, device, workers).share()
        seconds = time.perf_counter() - started
        held_out = (
            batch
            for number, batch in enumerate(validation.iter_batches(batch_size=settings.batch_size))
            if number % workers == rank
        )
        validated = evaluate_sequence_epoch(summed_loss, held_out, device).share()
        metrics = {"epoch": epoch, **trained.means("train"), **validated.means("validation")}
        metrics |= {"seconds": seconds, "targets_per_second": trained.targets / seconds}
        # the mean over the workers
        metrics["data_wait_share"] = trained.data_wait_s / workers / seconds
        state.add(metrics, network, optimizer)
        if rank == 0:
            logger.info(_line(metrics, settings.epochs))
            live_metrics.record(metrics, rate="targets_per_second")
        _report(config, state, metrics, rank)


def logged_batches(
    batches: Iterable[ChunkBatch], epoch: str, targets: int, workers: int
) -> Iterator[ChunkBatch]:
    """Yield the batches, and log the progress of the epoch every half minute.

    Args:
        targets: of the epoch, over all workers, which are about equally far.
    """
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


def scheduled_learning_rate(settings: SequenceSettings, epoch: int) -> float:
    """Return the learning rate of an epoch, from 1. Under `cosine` it decays along half a cosine
    wave (Loshchilov and Hutter 2017)."""
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / settings.epochs)) / 2


def _report(
    config: dict[str, Any], state: TrainingState, metrics: dict[str, float], rank: int
) -> None:
    if rank != 0:
        report_epoch(config, metrics, None)
        return
    with tempfile.TemporaryDirectory() as folder:
        state.save(Path(folder))
        report_epoch(config, metrics, Path(folder))


def _line(metrics: dict[str, float], epochs: int) -> str:
    left = (epochs - metrics["epoch"]) * metrics["seconds"]
    return (
        f"epoch {metrics['epoch']:.0f}/{epochs}: loss {metrics['train_loss']:.3f}, validation loss "
        f"{metrics['validation_loss']:.3f}, accuracy {metrics['validation_accuracy']:.2%}, top-5 "
        f"{metrics['validation_top5_accuracy']:.2%}, "
        f"{metrics['targets_per_second']:,.0f} targets/s, "
        f"no batch for {metrics['data_wait_share']:.0%} of the time, "
        f"at most {left / 60:.1f} min left"
    )
