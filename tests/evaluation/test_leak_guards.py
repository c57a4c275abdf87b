"""Markers that are watched after each cut-off alone: whatever recommends or shows one has seen what was hidden."""

import json
from pathlib import Path

import numpy as np
import pytest

from dualrec.data.prepare import prepare, prepared
from dualrec.data.splits import split_of
from dualrec.evaluation.evaluate import evaluate
from dualrec.evaluation.fitting import fit_baselines
from dualrec.evaluation.language_systems import IN_FORCE, requests_of
from dualrec.evaluation.questions import questions, settings_before
from dualrec.scoring import load_models, prompted
from dualrec.sequence.train import train_sequence
from dualrec.settings import DataSettings, Settings, load_settings
from dualrec.workspace import Workspace
from tests.conftest import numbered_movies, write_movielens_1m
from tests.language.tiny_models import write_model

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(900)]

USERS, MOVIES, EARLIER, DAY = 120, 40, 14, 86_400
LAST = [900 + place for place in range(5)]  # watched by test users alone, as their last five
LATER = 950  # watched by everyone, on the last days
TEST_USERS = set((np.flatnonzero(split_of(np.arange(1, USERS + 1), DataSettings()) == "test") + 1).tolist())


def _write(folder: Path, leaking: bool) -> Path:
    """A cycle that all follow. Where it is `leaking`, training users watch the markers before the cut-offs too."""
    ratings, movies = [], numbered_movies(MOVIES)
    for user in range(1, USERS + 1):
        items = [(user * 7 + step) % MOVIES + 1 for step in range(EARLIER)]
        if user in TEST_USERS or leaking:
            items += LAST
        ratings += [(user, item, 5, DAY * step + user) for step, item in enumerate(items)]
        if user % 2 and user not in TEST_USERS:
            ratings.append((user, LATER, 5, DAY * 60))
    for marker in (*LAST, LATER):
        movies[marker] = (f"Marker {marker} (1990)", "Drama")
    return write_movielens_1m(folder, ratings, movies)


def _settings(folder: Path, leaking: bool, *overrides: str) -> Settings:
    source = _write(folder / "movielens", leaking)
    return load_settings(
        None,
        [
            f"workspace={folder / 'workspace'}", f"data.source={source}", "data.shards=2", "data.top_items=0",
            "sequence.epochs=3", "sequence.batch_size=8", "sequence.learning_rate=0.01",
            "sequence.resources.cpus_per_worker=0.5", "recommend.sequence_cpus=0.1", "rerank.cpus=0.1",
            "baselines.systems=[all]", "baselines.trials=1", "baselines.epochs=2", "baselines.resources.cpus=0.5",
            "evaluation.protocols=[next_item, last_five, candidates_20, time_split]", "evaluation.language=false",
            "evaluation.bootstrap_samples=20", "evaluation.permutations=99", "evaluation.time_split_share=0.97", *overrides,
        ],
    )  # fmt: skip


def _measured(settings: Settings) -> dict:
    workspace = Workspace(settings.workspace)
    prepare(settings)
    protocols = settings.evaluation.protocols
    for one in [settings, *([settings_before(workspace, settings)] if "time_split" in protocols else [])]:
        prepare(one)
        train_sequence(one)
        fit_baselines(one)
    evaluate(settings)
    (report,) = Path(settings.workspace, "reports").iterdir()
    return dict(json.loads((report / "metrics.json").read_text()))


def test_no_system_recommends_what_only_the_hidden_part_holds(tmp_path: Path) -> None:
    metrics = _measured(_settings(tmp_path, leaking=False))
    assert metrics["protocols"]["last_five"]["users"] == len(TEST_USERS)
    for protocol in ("last_five", "next_item", "time_split"):
        models = metrics["protocols"][protocol]["models"]
        assert len(models) == 14
        hits = {name: one["HR@10"]["value"] for name, one in models.items() if name != "Random"}
        assert not any(hits.values()), f"{protocol}: {hits}"
    cold = metrics["protocols"]["time_split"]["counts"]["cold items among the hidden"]
    assert cold == 0.0, "the markers are described, and so can be recommended"


def test_the_guard_sees_a_leak(tmp_path: Path) -> None:
    systems = ("baselines.systems=[SKNN, FPMC]", "evaluation.protocols=[last_five]")
    models = _measured(_settings(tmp_path, True, *systems))["protocols"]["last_five"]["models"]
    for name in ("SKNN", "FPMC", "MostPop"):
        assert models[name]["HR@10"]["value"] > 0.5, name


def test_no_prompt_shows_what_only_the_hidden_part_holds(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "qwen2")
    settings = _settings(tmp_path, False, f"language.model={model}", "language.decoding=free")
    workspace = Workspace(settings.workspace)
    prepare(settings)
    before = settings_before(workspace, settings)
    for one in (settings, before):
        prepare(one)
        train_sequence(one)
    shown = 0
    for question in questions(workspace, settings):
        models = load_models(workspace, prepared(workspace, question.settings), question.settings)
        requests = requests_of(question.data, question.settings, IN_FORCE, question.asked)
        for row in prompted(requests, models, question.settings).iter_rows():
            shown += 1
            assert "Marker" not in row["prompt"]
            assert not {*LAST, LATER} & {*row["item_ids"], *row["sequence_item_ids"][:20]}
    assert shown > 2 * len(TEST_USERS)
