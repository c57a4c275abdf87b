"""Training under Ray Train on a local cluster: several workers, and one that is killed."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import ray.data

from dualrec.cluster.logs import collect_worker_logs
from dualrec.config.settings import SequenceSettings, Settings, load_settings
from dualrec.data.prepare import prepare
from dualrec.sequence.artifact import METRICS
from dualrec.sequence.features import item_features
from dualrec.sequence.train import fit_sequence_model, train_sequence
from tests.conftest import histories_table
from tests.killing import assert_resumed, killed_once, third_epoch_is_saved

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]

SMALL = [
    "item_dimension=16",
    "title_dimension=8",
    "genre_dimension=8",
    "hidden=[32,16]",
    "dense=32",
    "dropout=0.0",
]


def _settings(*overrides: str) -> SequenceSettings:
    own = [
        *SMALL,
        "chunk_length=12",
        "batch_size=16",
        "learning_rate=0.01",
        "resources.workers=0",
        *overrides,
    ]
    return load_settings(None, [f"sequence.{one}" for one in own]).sequence


def _fit(catalog: pa.Table, settings: SequenceSettings, storage: Path) -> list[dict[str, float]]:
    histories = histories_table(
        {user: [(user + step) % 6 + 1 for step in range(12)] for user in range(96)}
    )
    dataset = ray.data.from_arrow(histories).repartition(4)
    checkpoint = fit_sequence_model(
        dataset, dataset, item_features(catalog, settings), settings, str(storage)
    )
    with checkpoint.as_directory() as folder:
        return list(json.loads(Path(folder, METRICS).read_text())["epochs"])


def test_two_workers_learn_as_well_as_one_and_a_killed_one_goes_on_from_its_checkpoint(
    catalog: pa.Table, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = _fit(catalog, _settings("epochs=10", "patience=100"), tmp_path / "one")
    storage = tmp_path / "two"
    workers = _settings(
        "epochs=10", "patience=100", "resources.workers=2", "resources.cpus_per_worker=0.5"
    )
    caplog.set_level("INFO", "dualrec")
    caplog.clear()
    with collect_worker_logs(), killed_once(third_epoch_is_saved(storage), "ray::RayTrainWorker"):
        two = _fit(catalog, workers, storage)
    assert_resumed(caplog.messages, 10)
    assert [metrics["epoch"] for metrics in two] == list(range(1, 11))
    assert one[-1]["validation_accuracy"] > 0.8
    assert abs(one[-1]["validation_accuracy"] - two[-1]["validation_accuracy"]) < 0.1
    assert abs(one[0]["train_loss"] - two[0]["train_loss"]) < 0.2


def test_the_job_leaves_a_model_with_its_card_and_curves_and_tells_the_server_once(
    movielens: Path, settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        "dualrec.sequence.train.track",
        lambda settings, artifact, parameters, history: told.append(artifact),
    )
    settings = settings_for(
        f"data.source={movielens}", "sequence.epochs=2", *(f"sequence.{one}" for one in SMALL)
    )
    prepare(settings)
    for _ in range(2):
        train_sequence(settings)
    (folder,) = Path(settings.workspace, "models/sequence").glob("*/attempt-*")
    assert told == [f"models/sequence/{folder.parent.name}"]
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors", "metrics.json", "README.md", "tensorboard",
    }  # fmt: skip
    best = json.loads((folder / METRICS).read_text())["best"]
    assert f"| best epoch | {best['epoch']} of 2 |" in (folder / "README.md").read_text()
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))


def test_training_in_this_process_gives_what_a_worker_gives_and_gives_its_threads_back(
    catalog: pa.Table, tmp_path: Path
) -> None:
    import torch

    threads = torch.get_num_threads()
    own = ("epochs=2", "resources.threads=1")
    here = _fit(catalog, _settings(*own), tmp_path / "here")
    worker = _fit(
        catalog,
        _settings(*own, "resources.workers=1", "resources.cpus_per_worker=0.5"),
        tmp_path / "worker",
    )
    names = ("train_loss", "validation_loss", "validation_top5_accuracy")
    assert [[epoch[name] for name in names] for epoch in here] == [
        [epoch[name] for name in names] for epoch in worker
    ]
    assert torch.get_num_threads() == threads
    assert [path.name for path in (tmp_path / "here").rglob("checkpoint_*")] == [
        "checkpoint_000001"
    ]
