"""The job `finetune-language`: histories and the sequence model in; models/language/VERSION out."""

import json
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import ray
import ray.data

from dualrec.assets.nodes import ModelPlace
from dualrec.cluster.resources import largest_node_gib
from dualrec.cluster.session import ray_session
from dualrec.cluster.summary import Summary
from dualrec.cluster.tracking import CARD, check_tracking, track, write_tensorboard
from dualrec.config.settings import Settings
from dualrec.data.catalog import titles_of
from dualrec.data.prepare import Prepared, prepared
from dualrec.language.artifact import (
    ADAPTER,
    CURVES,
    MERGED,
    METRICS,
    TENSORBOARD,
    language_card,
    language_name,
)
from dualrec.language.checks import check_tunable, check_tuning, model_to_tune, targets_of
from dualrec.language.encoded_examples import encoded_examples
from dualrec.language.examples import (
    check_example_counts,
)
from dualrec.language.models import LanguageModel, check_room_on_cpus
from dualrec.language.train import best_epoch, fit_adapter
from dualrec.sequence.artifact import sequence_name
from dualrec.storage.workspace import Workspace

logger = logging.getLogger(__name__)


def finetune_language(settings: Settings, force: bool = False) -> Summary:
    """Fine-tune the language model on the training users, unless it is there.

    Raises:
        WorkspaceError: there are no histories or no sequence model, or the workspace cannot be
            written.
        AssetError: the language model cannot be had, or lacks weights, a tokenizer or a chat
            template.
        SettingsError: its target modules match no layer, it is served at an endpoint, it fits on no
            node, or it cannot
            rank as many items as it should; or an MLflow server is set, and MLflow is not
            installed.
        InputError: there are too few examples, or a prompt cannot fit its limit.
        DualrecError: more workers died than `finetune.resources.max_failures`.
    """
    check_tracking(settings.tracking)
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    name = language_name(data, settings)
    state = "already there"
    if not workspace.has(name) or force:
        workspace.require(sequence_name(data, settings), "train-sequence")
        titles = titles_of(data.catalog)
        checked = check_tuning(settings, titles)
        check_example_counts(workspace, data, settings)
        preset, location = model_to_tune(settings)
        with ray_session(settings.cluster):
            if not settings.finetune.resources.use_gpu:
                check_room_on_cpus(settings.language.model, largest_node_gib())
            ray.get(_check.remote(location, None if checked else (preset, settings, titles)))
            _finetune(workspace, data, settings, preset, location)
        used = {
            "finetune": settings.finetune.model_dump(mode="json"),
            "language": {"model": settings.language.model},
        }
        track(
            settings.tracking,
            name,
            used,
            json.loads(workspace.read_bytes(f"{workspace.content(name)}/{METRICS}")),
        )
        state = "written"
    return _summary(workspace, name, state)


@ray.remote
def _check(
    location: ModelPlace, unchecked: tuple[LanguageModel, Settings, dict[int, str]] | None
) -> None:
    """Find out that a node can have the model, and what is `unchecked` since the driver's machine
    has it not."""
    folder = location.folder()
    if unchecked is not None:
        check_tunable(folder, *unchecked)


@ray.remote
def _finish(
    base: ModelPlace,
    checkpoint: Any,
    target: str,
    filesystem: pafs.FileSystem,
    extra: dict[str, Any],
) -> None:
    """Merge the best adapter, draw the curves, and write everything to the artifact's folder."""
    from dualrec.language.artifact import draw_curves
    from dualrec.language.lora import merge

    with tempfile.TemporaryDirectory() as name, checkpoint.as_directory() as trained:
        local = Path(name)
        history = json.loads(Path(trained, METRICS).read_text())
        shutil.copytree(Path(trained, ADAPTER), local / ADAPTER)
        merge(base.folder(), local / ADAPTER, local / MERGED)
        draw_curves(history, local / CURVES)
        write_tensorboard(history, local / TENSORBOARD)
        budget = {**extra, **_totals(history["epochs"])}
        (local / METRICS).write_text(
            json.dumps(
                {"best": best_epoch(history["epochs"]), "budget": budget, **history}, indent=2
            )
        )
        pafs.copy_files(name, target, destination_filesystem=filesystem)


def _finetune(
    workspace: Workspace,
    data: Prepared,
    settings: Settings,
    preset: LanguageModel,
    location: ModelPlace,
) -> None:
    started = time.perf_counter()
    training, validation = encoded_examples(workspace, data, settings, preset, location)
    extra = {
        "training_examples": training.count(),
        "validation_examples": validation.count(),
        "seconds_of_examples": time.perf_counter() - started,
    }
    description: dict[str, Any] = {
        "data_version": data.version,
        "sequence_model": sequence_name(data, settings),
        "base_model": settings.language.model,
        "settings": settings.finetune.model_dump(mode="json"),
        "language": settings.language.model_dump(mode="json"),
    }
    name = language_name(data, settings)
    with workspace.writing(name, description) as target:
        running = f"{target}/running"
        checkpoint = fit_adapter(
            training,
            validation,
            location,
            targets_of(preset, settings.finetune),
            settings.finetune,
            running,
            workspace.filesystem,
        )
        ray.get(_finish.remote(location, checkpoint, target, workspace.filesystem, extra))
        workspace.filesystem.delete_dir(running)
        metrics = json.loads(workspace.read_bytes(workspace.name_of(f"{target}/{METRICS}")))
        card = language_card(name, data, settings, metrics)
        workspace.write_bytes(workspace.name_of(f"{target}/{CARD}"), card.encode())


def _totals(epochs: list[dict[str, float]]) -> dict[str, float]:
    return {
        name: sum(epoch[name] for epoch in epochs) for name in ("examples", "tokens", "seconds")
    }


def _summary(workspace: Workspace, name: str, state: str) -> Summary:
    metrics = json.loads(workspace.read_bytes(f"{workspace.content(name)}/{METRICS}"))
    best, epochs, budget = metrics["best"], metrics["epochs"], metrics["budget"]
    lines: dict[str, object] = {
        "version": f"{name.rpartition('/')[2]} ({state})",
        "training examples": budget["training_examples"],
        "validation examples": budget["validation_examples"],
        "best epoch": f"{best['epoch']} of {len(epochs)}",
        "training loss": f"{best['train_loss']:.4f} nats a token",
        "validation loss": f"{best['validation_loss']:.4f} nats a token",
        "training time": f"{budget['seconds']:.0f} s in {metrics['dtype']}",
        "tokens seen": int(budget["tokens"]),
        "tokens a second": f"{budget['tokens'] / budget['seconds']:,.0f}",
        "examples a second": f"{budget['examples'] / budget['seconds']:,.1f}",
        "peak memory": f"{max(epoch['peak_memory_gib'] for epoch in epochs):.1f} GiB a worker",
    }
    files = {"adapter": ADAPTER, "merged model": MERGED, "metrics": METRICS, "curves": CURVES}
    files["TensorBoard"] = TENSORBOARD
    base = f"{workspace.uri}/{workspace.content(name)}"
    return Summary(
        "finetune-language", lines, {title: f"{base}/{path}" for title, path in files.items()}
    )
