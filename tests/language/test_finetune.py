"""Fine-tuning under Ray Train and DeepSpeed: stages, workers, a killed one, merging, and input that
cannot work."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray.data

from dualrec.assets.nodes import ModelPlace
from dualrec.cluster.logs import collect_worker_logs
from dualrec.config.settings import FinetuneSettings, Settings, load_settings
from dualrec.data.prepare import prepare, prepared
from dualrec.errors import InputError
from dualrec.language import encoded_examples as module
from dualrec.language.artifact import ADAPTER, METRICS, language_name
from dualrec.language.encoded_examples import encoded_examples
from dualrec.language.finetune import finetune_language
from dualrec.language.models import LanguageModel
from dualrec.language.train import fit_adapter
from dualrec.storage.workspace import Workspace
from tests.conftest import IN_PROCESS, cyclic_ratings, numbered_movies, write_movielens_1m
from tests.killing import assert_resumed, killed_once, third_epoch_is_saved
from tests.language.test_batches import encoded
from tests.language.tiny_models import write_model
from tests.sequence.untrained import write_untrained_for

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def _settings(*overrides: str) -> FinetuneSettings:
    own = ["dtype=float32", "batch_size=8", "learning_rate=0.01", "lora_dropout=0.0", "epochs=2"]
    own += ["resources.workers=0", "resources.threads=1", *overrides]
    return load_settings(None, [f"finetune.{one}" for one in own]).finetune


def _fit(
    model: Path, settings: FinetuneSettings, storage: Path
) -> tuple[list[dict[str, Any]], Path]:
    """Train on rows that repeat one token in the answer; return the metrics and the folder of the
    adapter."""
    rows = {
        row: ([60, 61, 70 + row % 5, *([40] * (row % 7)), *([41 + row % 2] * 8)], 3 + row % 7)
        for row in range(64)
    }
    dataset = ray.data.from_arrow(encoded(rows)).repartition(4).materialize()
    checkpoint = fit_adapter(
        dataset, dataset, ModelPlace(str(model), "cache"), ATTENTION, settings, str(storage)
    )
    with checkpoint.as_directory() as folder:
        metrics = json.loads(Path(folder, METRICS).read_text())["epochs"]
    return metrics, Path(checkpoint.path) / ADAPTER


TWO_WORKERS = ("resources.workers=2", "resources.cpus_per_worker=0.5")
WHOLE = (
    "batch_size=64",
    "epochs=8",
)  # all examples in each step: all see the same steps, to rounding


@dataclass(frozen=True)
class Alone:
    """What a training in one process that saves no memory learned, and from which model."""

    base: Path
    adapter: Path
    epochs: list[dict[str, Any]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Alone:
    """It has learned something."""
    folder = tmp_path_factory.mktemp("alone")
    base = write_model(folder / "base", "qwen2")
    epochs, adapter = _fit(base, _settings(*WHOLE), folder / "running")
    assert epochs[-1]["validation_loss"] < epochs[0]["validation_loss"] - 0.1
    assert epochs[0]["examples"] == 64
    return Alone(base, adapter, epochs)


def test_the_merged_model_is_base_plus_adapter(tmp_path: Path, alone: Alone) -> None:
    _assert_merged(alone.base, alone.adapter, tmp_path / "merged")


def test_two_workers_fine_tune_another_architecture_whose_weights_they_share_out(
    tmp_path: Path,
) -> None:
    base = write_model(tmp_path / "base", "mistral")
    epochs, adapter = _fit(base, _settings(*TWO_WORKERS, "zero_stage=3"), tmp_path / "running")
    assert epochs[1]["validation_loss"] < epochs[0]["validation_loss"] < 5.0
    _assert_merged(base, adapter, tmp_path / "merged")


def _assert_merged(base: Path, adapter: Path, folder: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from dualrec.language.lora import merge

    merge(base, adapter, folder)
    inputs = torch.tensor([[70, 40, 40, 41, 42]])
    plain, merged = (AutoModelForCausalLM.from_pretrained(one) for one in (base, folder))
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))
    with torch.no_grad():
        logits = {
            name: model(inputs).logits
            for name, model in (("base", plain), ("merged", merged), ("both", adapted))
        }
    assert torch.allclose(logits["merged"], logits["both"], atol=1e-4)
    assert not torch.allclose(logits["merged"], logits["base"], atol=1e-2)
    assert (
        AutoTokenizer.from_pretrained(folder).chat_template
        == AutoTokenizer.from_pretrained(base).chat_template
    )


def _same_losses(alone: Alone, epochs: list[dict[str, Any]]) -> bool:
    names = ("epoch", "train_loss", "validation_loss")
    return all(
        other[name] == pytest.approx(one[name], rel=1e-3)
        for one, other in zip(alone.epochs, epochs, strict=True)
        for name in names
    )


def test_two_workers_of_which_one_is_killed_change_no_loss(
    tmp_path: Path, alone: Alone, caplog: pytest.LogCaptureFixture
) -> None:
    storage = tmp_path / "running"
    caplog.set_level("INFO", "dualrec")
    with collect_worker_logs(), killed_once(third_epoch_is_saved(storage), "ray::RayTrainWorker"):
        epochs, _ = _fit(alone.base, _settings(*WHOLE, *TWO_WORKERS), storage)
    assert_resumed(caplog.messages, 8)
    assert _same_losses(alone, epochs)


@pytest.mark.parametrize(
    "saving", [["accumulation=2"], ["zero_stage=3"]], ids=["stage 2", "stage 3"]
)
def test_what_saves_memory_changes_no_loss(tmp_path: Path, alone: Alone, saving: list[str]) -> None:
    settings = _settings(*WHOLE, "gradient_checkpointing=true", "cpu_offload=true", *saving)
    epochs, _ = _fit(alone.base, settings, tmp_path / "running")
    assert _same_losses(alone, epochs)


def test_bfloat16_and_the_loss_on_all_of_it_learn_too(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "mistral")
    epochs, _ = _fit(base, _settings("dtype=bfloat16", "loss=all"), tmp_path / "running")
    assert epochs[1]["validation_loss"] < epochs[0]["validation_loss"] < 5.0


SMALL = [
    "sequence.preset=paper",
    "sequence.epochs=1",
    "sequence.hidden=[8,8]",
    "sequence.dense=8",
    "sequence.item_dimension=8",
    "sequence.title_dimension=8",
    "sequence.genre_dimension=8",
    *IN_PROCESS,
    "finetune.dtype=float32",
    "finetune.epochs=1",
    "finetune.batch_size=8",
    "language.max_prompt_tokens=700",
    "finetune.max_tokens=800",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Callable[..., Settings]:
    """Settings over a workspace with histories and a sequence model, and a tiny language model in
    `model`."""
    folder = tmp_path_factory.mktemp("job")
    ratings = write_movielens_1m(
        folder / "movielens", cyclic_ratings(60, 12, 9), numbered_movies(12)
    )
    write_model(folder / "model", "qwen2")

    def make(*overrides: str) -> Settings:
        own = [
            f"workspace={folder / 'workspace'}",
            f"data.source={ratings}",
            f"language.model={folder / 'model'}",
        ]
        return load_settings(None, [*own, "data.shards=2", *SMALL, *overrides])

    prepare(make())
    write_untrained_for(make())
    return make


@pytest.mark.parametrize(
    "kind",
    [
        ["finetune.examples=cuts"],
        ["language.mode=rank", "language.rank_candidates=5"],
    ],
    ids=["cuts", "ranked"],
)
def test_the_job_writes_the_whole_artifact_once(
    trained: Callable[..., Settings], kind: list[str]
) -> None:
    settings = trained("finetune.max_examples=24", *kind)
    summary = finetune_language(settings)
    workspace = Workspace.of(settings)
    name = language_name(prepared(workspace, settings), settings)
    folder = Path(workspace.path(workspace.content(name)))
    assert summary.lines["training examples"] == 24
    metrics = json.loads((folder / METRICS).read_text())
    assert metrics["best"] == metrics["epochs"][0] and metrics["budget"]["training_examples"] == 24
    for name in (
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "merged/model.safetensors",
        "merged/tokenizer.json",
        "merged/chat_template.jinja",
        "curves.png",
        "README.md",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "tensorboard").iterdir()) and not (folder / "running").exists()
    assert "already there" in str(finetune_language(settings).lines["version"])


def test_examples_that_no_candidate_answers_are_counted(
    trained: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    settings = trained("language.mode=rank", "language.rank_candidates=2")
    workspace, place = Workspace.of(settings), ModelPlace(settings.language.model, "cache")
    with caplog.at_level("INFO", "dualrec"):
        training, _ = encoded_examples(
            workspace, prepared(workspace, settings), settings, LanguageModel(), place
        )
    (told,) = (line for line in caplog.messages if "train examples are left out" in line)
    left_out, total = (int(number) for number in re.findall(r"\d+", told)[:2])
    assert 0 < left_out < total and training.count() == total - left_out
    assert {row["answer_start"] - len(row["input_ids"]) for row in training.iter_rows()} == {-1}


def test_ranking_that_no_candidate_answers_is_told_before_further_models_are_trained(
    trained: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "answerable_examples", lambda examples: examples.slice(0, 0))
    monkeypatch.setattr(module, "fold_models", lambda *_: pytest.fail("models were trained"))
    with pytest.raises(InputError, match=r"where items are ranked, one of the next among them"):
        finetune_language(trained("language.mode=rank", "language.rank_candidates=3"))
