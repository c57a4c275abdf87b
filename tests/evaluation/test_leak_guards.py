"""Two data sets that differ only in what is hidden: whatever is fitted must be the same to the bit,
and no prompt differs."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dualrec.baselines.registry import MODULES, baseline
from dualrec.config.settings import DataSettings, Settings, load_settings
from dualrec.data.prepare import prepare, prepared
from dualrec.data.splits import split_of
from dualrec.evaluation.cases import questions, settings_before
from dualrec.evaluation.fitting import drawn, training_data
from dualrec.evaluation.language_systems import IN_FORCE, requests_of
from dualrec.scoring.models import load_models
from dualrec.scoring.pipeline import build_prompts
from dualrec.sequence.artifact import WEIGHTS, sequence_name
from dualrec.sequence.train import train_sequence
from dualrec.storage.schemas import HISTORIES
from dualrec.storage.workspace import Workspace
from tests.conftest import IN_PROCESS, numbered_movies, write_movielens_1m
from tests.language.tiny_models import write_model
from tests.sequence.untrained import write_untrained_for

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(900)]

USERS, MOVIES, EARLIER, DAY = 60, 30, 12, 86_400
MARKERS = range(900, 910)
SPLIT = split_of(np.arange(USERS + 1), DataSettings())
HINT = re.compile(
    r"A viewing model suggests:\n[^\n]*\n"
)  # any movie may be one: no user's future is in it

Fitted = dict[str, dict[str, np.ndarray]]


def _write(folder: Path, hidden: int, seen: int, late: int) -> Path:
    """Users who follow a cycle, and then the markers.

    Args:
        hidden: which markers stand as the last five of test users.
        seen: which marker every second training user watched early on.
        late: which movie of the cycle the others watched much later.
    """
    ratings, movies = [], numbered_movies(MOVIES)
    for user in range(1, USERS + 1):
        items = [(user * 7 + step) % MOVIES + 1 for step in range(EARLIER)]
        ratings += [(user, item, 5, DAY * step + user) for step, item in enumerate(items)]
        if SPLIT[user] == "test":
            ratings += [
                (user, MARKERS[5 * hidden + place], 5, DAY * (EARLIER + place))
                for place in range(5)
            ]
        elif user % 3 == 0:
            ratings.append((user, (user * 7 + EARLIER + late) % MOVIES + 1, 5, DAY * 60))
    for user in np.flatnonzero(SPLIT == "train")[2::2].tolist():
        ratings.append((user, MARKERS[5 * seen], 5, DAY))
    for marker in MARKERS:
        movies[marker] = (f"Marker {marker} (1990)", "Drama")
    return write_movielens_1m(folder, ratings, movies)


def _settings(
    folder: Path, *overrides: str, hidden: int = 0, seen: int = 0, late: int = 0
) -> Settings:
    source = _write(folder / "movielens", hidden, seen, late)
    return load_settings(
        None,
        [
            f"workspace={folder / 'workspace'}", f"data.source={source}", "data.shards=1", "data.top_items=0",
            "sequence.preset=pair", "sequence.hidden=[16,8]", "sequence.dense=16", "sequence.epochs=1", "sequence.batch_size=8", *IN_PROCESS,
            "sequence.resources.threads=1", "recommend.sequence_cpus=0.1", "rerank.cpus=0.1", "baselines.epochs=1",
            "evaluation.protocols=[next_item, last_five, candidates_20, time_split]", "evaluation.time_split_share=0.9",
            *overrides,
        ],
    )  # fmt: skip


def _learned(settings: Settings) -> tuple[list[pa.Table], Fitted]:
    """What the sequence model is trained on, and the state of every baseline after learning."""
    workspace = Workspace.of(settings)
    prepare(settings)
    data = prepared(workspace, settings)
    learning = training_data(workspace, data, settings)
    systems = {name: baseline(name) for name in MODULES}
    states = {
        name: one.fit(learning, drawn(one.ranges, name, 0, 0)).state
        for name, one in systems.items()
    }
    histories = [
        workspace.read_table(
            f"{workspace.content(data.histories)}/split={split}", HISTORIES
        ).sort_by("user_id")
        for split in ("train", "validation")
    ]
    popularity = {"popularity": data.catalog.column("popularity").to_numpy()}
    return [data.catalog, *histories], {**states, "catalog": popularity}


def _fitted(settings: Settings) -> Fitted:
    """The state of every baseline, and the sequence model's weights."""
    from safetensors.numpy import load

    _, states = _learned(settings)
    train_sequence(settings)
    workspace = Workspace.of(settings)
    name = sequence_name(prepared(workspace, settings), settings)
    return {
        **states,
        "sequence model": load(workspace.read_bytes(f"{workspace.content(name)}/{WEIGHTS}")),
    }


def _differing(one: Fitted, other: Fitted) -> set[str]:
    return {
        name
        for name, state in one.items()
        if any(not np.array_equal(array, other[name][key]) for key, array in state.items())
    }


def test_what_is_hidden_changes_nothing_that_is_fitted(tmp_path: Path) -> None:
    whole = _fitted(_settings(tmp_path / "one"))
    assert not _differing(whole, _fitted(_settings(tmp_path / "other", hidden=1)))
    noticing = _differing(whole, _fitted(_settings(tmp_path / "seen", seen=1)))
    assert noticing == set(whole) - {"Random"}, (
        "what training users watched is noticed, so this test can see a leak"
    )


def test_what_comes_after_the_moment_changes_nothing_that_is_fitted(tmp_path: Path) -> None:
    befores = []
    for other in (0, 1):
        settings = _settings(tmp_path / str(other), hidden=other, late=other)
        prepare(settings)
        befores.append(settings_before(Workspace.of(settings), settings))
    assert befores[0].data.until == befores[1].data.until == DAY * (EARLIER - 1)
    (tables, states), (other_tables, other_states) = (_learned(before) for before in befores)
    assert not _differing(states, other_states)
    assert all(table.equals(other) for table, other in zip(tables, other_tables, strict=True))


def test_no_prompt_shows_what_is_hidden(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "qwen2")
    settings = _settings(tmp_path, f"language.model={model}", "language.decoding=free")
    workspace = Workspace.of(settings)
    prepare(settings)
    for one in (settings, settings_before(workspace, settings)):
        prepare(one)
        write_untrained_for(one)
    asked: dict[str, int] = {}
    for question in questions(workspace, settings):
        models = load_models(workspace, prepared(workspace, question.settings), question.settings)
        requests = requests_of(question.data, question.settings, IN_FORCE, question.asked)
        for row in build_prompts(requests, models, question.settings).iter_rows():
            hidden = [f"Marker {item}" for item in row["held_out"] if item in MARKERS]
            asked[row["purpose"]] = asked.get(row["purpose"], 0) + bool(hidden)
            assert not [title for title in hidden if title in HINT.sub("", row["prompt"])]
    assert set(asked) == {"next_item", "last_five", "time_split"}
    assert min(asked.values()) > 3, (
        "some of the hidden movies are markers, so this test can see them"
    )
