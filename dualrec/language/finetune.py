"""The job `finetune-language`: histories and the sequence model in; models/language/VERSION out."""

import json
import logging
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import ray
import ray.data
from ray.data import ActorPoolStrategy

from dualrec.assets.nodes import ModelPlace
from dualrec.data.catalogue import titles_of
from dualrec.data.prepare import Prepared, prepared
from dualrec.errors import AssetError, InputError, SettingsError
from dualrec.language.artefact import ADAPTER, CURVES, MERGED, METRICS, TENSORBOARD, language_name
from dualrec.language.card import language_card
from dualrec.language.examples import AHEAD, LAST, published_cuts, several_cuts, validation_cuts, with_an_answer
from dualrec.language.folds import Hints, fold_models
from dualrec.language.models import LanguageModel, check_ranking, check_room_on_cpus, language_model
from dualrec.language.train import best_epoch, fit_adapter
from dualrec.model_card import CARD
from dualrec.sequence.artefact import WEIGHTS, sequence_name
from dualrec.session import largest_node_gib, ray_session
from dualrec.settings import FinetuneSettings, Settings
from dualrec.summary import Summary
from dualrec.tracking import check_tracking, track, write_tensorboard
from dualrec.workspace import Workspace

_BATCH = 256  # examples that an actor turns into tokens at a time

logger = logging.getLogger(__name__)


def finetune_language(settings: Settings, force: bool = False) -> Summary:
    """Fine-tune the language model on the training users, unless it is there.

    Raises:
        WorkspaceError: there are no histories or no sequence model, or the workspace cannot be written.
        AssetError: the language model cannot be had, or lacks weights, a tokenizer or a chat template.
        SettingsError: its target modules match no layer, it is served at an endpoint, it fits on no node, or it cannot
            rank as many items as it should; or an MLflow server is set, and MLflow is not installed.
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
        preset, place = language_model(settings)
        if place is None:
            raise SettingsError(
                f"language.model {settings.language.model} is served at an endpoint, so there are no weights to tune: "
                "name a model whose weights can be had"
            )
        check_ranking(settings)
        with ray_session(settings.cluster):
            if not settings.finetune.resources.use_gpu:
                check_room_on_cpus(settings.language.model, largest_node_gib())
            ray.get(_check.remote(place, preset, settings, titles_of(data.catalogue)))
            _finetune(workspace, data, settings, preset, place)
        used = {"finetune": settings.finetune.model_dump(mode="json"), "language": {"model": settings.language.model}}
        track(settings.tracking, name, used, json.loads(workspace.read_bytes(f"{name}/{METRICS}")))
        state = "written"
    return _summary(workspace, name, state)


def check_folder(folder: Path) -> None:
    """Raise an AssetError where a model's folder lacks weights or a tokenizer."""
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise AssetError(f"{folder} holds no weights (*.safetensors): name a whole model in language.model")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise AssetError(
            f"{folder} holds no tokenizer (tokenizer.json): put the model's own there, or name a whole model in "
            "language.model"
        )


def targets_of(preset: LanguageModel, settings: FinetuneSettings) -> tuple[str, ...]:
    """The layers that fine-tuning adapts."""
    return preset.target_modules if settings.target_modules is None else settings.target_modules


def encoded_examples(
    workspace: Workspace, data: Prepared, settings: Settings, preset: LanguageModel, place: ModelPlace
) -> tuple[ray.data.Dataset, ray.data.Dataset]:
    """Training and validation examples (schema ENCODED), in memory.

    Raises:
        InputError: there are too few.
    """
    language, tuning = settings.language, settings.finetune
    cut = {"titles": language.titles, "seed": tuning.seed}
    trained_on_all = [workspace.read_bytes(f"{sequence_name(data, settings)}/{WEIGHTS}")]
    if tuning.examples == "published":
        ahead, weights = language.titles, trained_on_all
        cut_training = partial(published_cuts, **cut)
    else:
        ahead, weights = max(AHEAD, language.titles), fold_models(workspace, data, settings)
        cut_training = partial(several_cuts, ahead=ahead, per_user=tuning.examples_per_user, **cut)
    encode = partial(_encoded, settings=settings, preset=preset, place=place, titles=ray.put(titles_of(data.catalogue)))
    sets = []
    for split, cuts, most, hints in (
        ("train", cut_training, tuning.max_examples, weights),
        ("validation", partial(validation_cuts, ahead=ahead, **cut), tuning.validation_examples, trained_on_all),
    ):
        histories = data.read_histories(workspace, split)
        examples = histories.map_batches(cuts, batch_format="pyarrow", batch_size=None)
        hinted = partial(_hinted, weights=ray.put(hints), settings=settings)
        if language.mode == "rank":
            chosen = _sample(_with_an_answer(hinted(examples), split, settings), most)
        else:
            chosen = hinted(_sample(examples, most))
        sets.append(encode(chosen).materialize())
    training, validation = sets
    _check_enough(training.count(), validation.count(), settings)
    return training, validation


def _sample(examples: ray.data.Dataset, most: int) -> ray.data.Dataset:
    return examples.sort("order").limit(most) if most else examples


def _hinted(examples: ray.data.Dataset, weights: "ray.ObjectRef[list[bytes]]", settings: Settings) -> ray.data.Dataset:
    count = settings.language.rank_candidates if settings.language.mode == "rank" else 1
    return _through(examples, Hints, 0.2, weights=weights, settings=settings.sequence, count=count)


def _with_an_answer(examples: ray.data.Dataset, split: str, settings: Settings) -> ray.data.Dataset:
    """The hinted examples that can be answered by one of their candidates. Says how many cannot."""
    examples = examples.materialize()
    kept = examples.map_batches(with_an_answer, batch_format="pyarrow", batch_size=None).materialize()
    total = examples.count()
    logger.info(
        f"{total - kept.count()} of {total} {split} examples are left out: none of the movies after their cuts is "
        f"among the sequence model's first {settings.language.rank_candidates}"
    )
    return kept


def _encoded(
    examples: ray.data.Dataset,
    titles: "ray.ObjectRef[dict[int, str]]",
    settings: Settings,
    preset: LanguageModel,
    place: ModelPlace,
) -> ray.data.Dataset:
    arguments = {"place": place, "preset": preset, "language": settings.language, "finetune": settings.finetune}
    return _through(examples, _EncodeActor, 0.1, titles=titles, **arguments)


def _through(examples: ray.data.Dataset, actor: type, cpus: float, **arguments: Any) -> ray.data.Dataset:
    return examples.map_batches(
        actor,
        fn_constructor_kwargs=arguments,
        batch_size=_BATCH,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=1),
        num_cpus=cpus,
    )


class _EncodeActor:
    """Loads the tokenizer where the actor runs, not in the driver."""

    def __init__(self, place: ModelPlace, titles: "ray.ObjectRef[dict[int, str]]", **arguments: Any) -> None:
        from dualrec.language.encode import ExampleEncoder

        self.encode = ExampleEncoder(str(place.folder()), titles=ray.get(titles), **arguments)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self.encode(batch)


@ray.remote
def _check(place: ModelPlace, preset: LanguageModel, settings: Settings, titles: dict[int, str]) -> None:
    """Find out in seconds what would fail after minutes: files, layers to adapt, end token, chat template, labels, room."""
    from dualrec.language.encode import ExampleEncoder
    from dualrec.language.lora import check_model

    folder = place.folder()
    check_folder(folder)
    check_model(str(folder), targets_of(preset, settings.finetune))
    ExampleEncoder(str(folder), preset, settings.language, settings.finetune, titles)


@ray.remote
def _finish(base: ModelPlace, checkpoint: Any, target: str, filesystem: pafs.FileSystem, extra: dict[str, Any]) -> None:
    """Merge the best adapter, draw the curves, and write everything to the artefact's folder."""
    from dualrec.language.curves import draw_curves
    from dualrec.language.merge import merge

    with tempfile.TemporaryDirectory() as name, checkpoint.as_directory() as trained:
        local = Path(name)
        history = json.loads(Path(trained, METRICS).read_text())
        shutil.copytree(Path(trained, ADAPTER), local / ADAPTER)
        merge(base.folder(), local / ADAPTER, local / MERGED)
        draw_curves(history, local / CURVES)
        write_tensorboard(history, local / TENSORBOARD)
        budget = {**extra, **_totals(history["epochs"])}
        (local / METRICS).write_text(
            json.dumps({"best": best_epoch(history["epochs"]), "budget": budget, **history}, indent=2)
        )
        pafs.copy_files(name, target, destination_filesystem=filesystem)


def _finetune(
    workspace: Workspace, data: Prepared, settings: Settings, preset: LanguageModel, place: ModelPlace
) -> None:
    started = time.perf_counter()
    training, validation = encoded_examples(workspace, data, settings, preset, place)
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
            place,
            targets_of(preset, settings.finetune),
            settings.finetune,
            running,
            workspace.filesystem,
        )
        ray.get(_finish.remote(place, checkpoint, target, workspace.filesystem, extra))
        workspace.filesystem.delete_dir(running)
        metrics = json.loads(workspace.read_bytes(workspace.name_of(f"{target}/{METRICS}")))
        card = language_card(name, data, settings, metrics)
        workspace.write_bytes(workspace.name_of(f"{target}/{CARD}"), card.encode())


def _check_enough(training: int, validation: int, settings: Settings) -> None:
    titles, needed = settings.language.titles, settings.finetune.batch_size
    if training < needed:
        shortest = LAST + 1 if settings.finetune.examples == "published" else titles + 1
        raise InputError(
            f"there are {training} training examples, and one step takes {needed}: bring more training users with at "
            f"least {shortest} movies, raise finetune.examples_per_user ({settings.finetune.examples_per_user}) or "
            f"finetune.max_examples ({settings.finetune.max_examples}), or lower finetune.batch_size"
        )
    if validation == 0:
        raise InputError(
            f"no validation user has {LAST + titles + 1} movies and, where items are ranked, one of the next among "
            "them, so no epoch can be chosen: bring longer histories, or raise data.validation_fraction"
        )


def _totals(epochs: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(epoch[name] for epoch in epochs) for name in ("examples", "tokens", "seconds")}


def _summary(workspace: Workspace, name: str, state: str) -> Summary:
    metrics = json.loads(workspace.read_bytes(f"{name}/{METRICS}"))
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
    places = {
        "adapter": ADAPTER,
        "merged model": MERGED,
        "metrics": METRICS,
        "curves": CURVES,
        "TensorBoard": TENSORBOARD,
    }
    return Summary(
        "finetune-language", lines, {title: f"{workspace.uri}/{name}/{place}" for title, place in places.items()}
    )  # fmt: skip
