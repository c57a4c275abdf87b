"""The job `train-sequence`: histories in; models/sequence/VERSION out.

Holds the job's steps and the Ray Train call; what a worker does is in worker.py.
"""

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import ray.data
from ray.train import Checkpoint

from dualrec.cluster.session import ray_session
from dualrec.cluster.summary import Summary
from dualrec.cluster.tracking import CARD, check_tracking, track, write_tensorboard
from dualrec.cluster.training import fit, save_files
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
from dualrec.sequence.chunks import chunk_histories, target_counts
from dualrec.sequence.features import ItemFeatures, item_features
from dualrec.sequence.worker import sequence_train_loop
from dualrec.storage.workspace import Workspace


def train_sequence(settings: Settings, force: bool = False) -> Summary:
    """Train the sequence model on the training users, unless its artifact exists.

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
    held_out = at_most(validation, settings.validation_users, settings.seed)
    cut = partial(chunk_histories, features=features, length=settings.chunk_length)
    datasets = {
        name: dataset.map_batches(cut, batch_format="pyarrow", batch_size=None).materialize()
        for name, dataset in (("training", training), ("validation", held_out))
    }
    counts = _counts(datasets["training"], len(features.item_ids)) if settings.negatives else None
    config = {
        "settings": settings,
        "features": features,
        "counts": counts,
        "targets": datasets["training"].sum("size"),
    }
    return fit(
        "train-sequence",
        sequence_train_loop,
        config,
        datasets,
        settings.resources,
        storage,
        filesystem,
    )


def _counts(chunks: ray.data.Dataset, items: int) -> np.ndarray:
    """Count how often each item is a target, int64 (items,)."""
    counted = chunks.map_batches(
        partial(target_counts, items=items), batch_format="numpy", batch_size=None
    )
    return np.sum(
        [batch["counts"].sum(0) for batch in counted.iter_batches(batch_size=None)], axis=0
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
        save_files(
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
