"""Trains the adapter under Ray Train and DeepSpeed on encoded examples. Knows datasets and a model;
no users.

A checkpoint each epoch holds every worker's part of DeepSpeed's state, the best adapter so far and
all metrics, so a killed worker costs the epoch it was in, and those that ended since Ray Train last
looked, seconds before. It is resumed on as many workers as before.
"""

import json
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import ray.data
from ray.train import Checkpoint, get_checkpoint, get_dataset_shard

from dualrec.assets.nodes import ModelPlace
from dualrec.cluster.metrics import TrainingMetrics
from dualrec.cluster.training import begin_worker, fit, report_epoch
from dualrec.config.settings import FinetuneSettings
from dualrec.language.artifact import ADAPTER, METRICS

ENGINE_STATE = "deepspeed"

logger = logging.getLogger(__name__)


def fit_adapter(
    training: ray.data.Dataset,
    validation: ray.data.Dataset,
    base: ModelPlace,
    targets: tuple[str, ...],
    settings: FinetuneSettings,
    storage: str,
    filesystem: pafs.FileSystem | None = None,
) -> Checkpoint:
    """Train on examples (schema ENCODED); return a checkpoint with the best epoch's adapter and all
    metrics.

    Args:
        base: the base model.
        targets: the layers to adapt.
        storage: where checkpoints lie while it runs; a killed worker resumes from there.

    Raises:
        DualrecError: more workers died than `resources.max_failures`.
    """
    config = {"settings": settings, "base": base, "targets": targets}
    datasets = {"training": training, "validation": validation}
    return fit(
        "finetune-language",
        finetune_worker,
        config,
        datasets,
        settings.resources,
        storage,
        filesystem,
        _environment(settings),
    )


def finetune_worker(config: dict[str, Any]) -> None:
    """What each worker runs: epochs over its shard, and a checkpoint after each."""
    import torch

    from dualrec.language.batches import shard_of
    from dualrec.language.lora import SummedTokenLoss, adapted_model
    from dualrec.language.models import precision_of
    from dualrec.language.steps import (
        EpochState,
        build_engine,
        evaluate_adapter_epoch,
        peak_memory_gib,
        seed_epoch,
        train_adapter_epoch,
    )

    settings: FinetuneSettings = config["settings"]
    rank, workers = begin_worker(settings.resources)
    settings = settings.model_copy(
        update={"dtype": precision_of(settings.dtype, settings.resources.use_gpu)}
    )
    torch.manual_seed(settings.seed)
    model = adapted_model(str(config["base"].folder()), config["targets"], settings)
    shares_prefix = settings.zero_stage == 2 and not settings.gradient_checkpointing
    engine = build_engine(SummedTokenLoss(model, shares_prefix), settings, workers)
    history, shown = _resume(engine), TrainingMetrics("finetune-language")
    history["dtype"] = settings.dtype
    training, validation = (
        shard_of(get_dataset_shard(name).iter_batches(batch_format="pyarrow", batch_size=None))
        for name in ("training", "validation")
    )
    for epoch in range(len(history["epochs"]) + 1, settings.epochs + 1):
        seed_epoch(settings, epoch, rank)
        pace, started = EpochState(epoch, rank, workers), time.perf_counter()
        trained = train_adapter_epoch(engine, training, settings, pace).share()
        seconds = time.perf_counter() - started
        validated = evaluate_adapter_epoch(engine, validation, settings, pace).share()
        metrics = {
            "epoch": epoch,
            "train_loss": trained.mean_loss,
            "validation_loss": validated.mean_loss,
            "seconds": seconds,
            "validation_seconds": time.perf_counter() - started - seconds,
            "examples": trained.examples,
            "tokens": trained.tokens,
            "tokens_per_second": trained.tokens / seconds,
            "examples_per_second": trained.examples / seconds,
            "peak_memory_gib": peak_memory_gib(engine.device),
        }
        history["epochs"].append(metrics)
        history["steps"] += pace.curve
        if rank == 0:
            logger.info(_line(metrics, settings.epochs))
            shown.record(metrics, rate="examples_per_second")
        _report(config, engine, model, history, metrics, rank)


def best_epoch(epochs: list[dict[str, float]]) -> dict[str, float]:
    """The metrics of the epoch with the lowest validation loss."""
    return min(epochs, key=lambda metrics: metrics["validation_loss"])


def _resume(engine: Any) -> dict[str, Any]:
    """Load the last checkpoint, if any, and return the metrics so far."""
    from dualrec.language.steps import load_engine

    checkpoint = get_checkpoint()
    if checkpoint is None:
        return {"epochs": [], "steps": []}
    with checkpoint.as_directory() as folder:
        load_engine(engine, Path(folder, ENGINE_STATE))
        return dict(json.loads(Path(folder, METRICS).read_text()))


def _report(
    config: dict[str, Any],
    engine: Any,
    model: Any,
    history: dict[str, Any],
    metrics: dict[str, float],
    rank: int,
) -> None:
    """Save this worker's part of a checkpoint; the first worker adds the best adapter and all
    metrics."""
    from dualrec.language.lora import save_adapter
    from dualrec.language.steps import save_engine, trained_weights

    weights = trained_weights(engine.module, "model.")
    earlier = get_checkpoint()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_engine(engine, folder / ENGINE_STATE)
        if rank == 0:
            if best_epoch(history["epochs"]) is metrics or earlier is None:
                save_adapter(model, weights, folder / ADAPTER)
            else:
                with earlier.as_directory() as last:
                    shutil.copytree(Path(last, ADAPTER), folder / ADAPTER)
            (folder / METRICS).write_text(json.dumps(history))
        report_epoch(config, metrics, folder)


def _environment(settings: FinetuneSettings) -> dict[str, str]:
    device = (
        {} if settings.resources.use_gpu else {"DS_ACCELERATOR": "cpu"}
    )  # or DeepSpeed guesses, at times wrongly
    return {
        **device,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "DS_BUILD_OPS": "0",
        "TQDM_DISABLE": "1",
    }


def _line(metrics: dict[str, float], epochs: int) -> str:
    left = (epochs - metrics["epoch"]) * (metrics["seconds"] + metrics["validation_seconds"])
    return (
        f"epoch {metrics['epoch']:.0f}/{epochs}: loss {metrics['train_loss']:.3f}, validation loss "
        f"{metrics['validation_loss']:.3f}, {metrics['examples_per_second']:,.1f} examples/s, "
        f"{metrics['tokens_per_second']:,.0f} tokens/s, peak memory "
        f"{metrics['peak_memory_gib']:.1f} GiB, "
        f"about {left / 60:.1f} min left"
    )
