"""From a published list back to its reasons, on snapshots that are written by hand."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from dualrec.cli import app
from dualrec.config.settings import PublishSettings, Settings, load_settings
from dualrec.data.pseudonyms import with_hashed_users
from dualrec.errors import InputError, PublishError
from dualrec.nightly.changed_users import Users, write_users
from dualrec.publishing.manifest import TRACES, USERS, Night, night_folder
from dualrec.publishing.publish import publish
from dualrec.publishing.verify import verify_lists
from dualrec.ranking.lists import ListWriter
from dualrec.serving.explain import Explanation, explain
from dualrec.storage.schemas import TRACES as TRACE_SCHEMA
from dualrec.storage.workspace import Workspace

FIRST, SECOND = date(2026, 11, 1), date(2026, 11, 2)
USER, STRANGER, WEIGHT = 7, 404, 0.4
SALT = "a salt of more than sixteen characters"
TRACE = {
    "user_id": USER,
    "purpose": "night",
    "decoding": "shortlist",
    "item_ids": [1],
    "held_out": [],
    "sequence_item_ids": [3, 4, 5],
    "sequence_scores": [0.5, 0.25, 0.125],
    "prompt": "They watched Toy Story. What next?",
    "generated_text": "Seven\nToy Story\nSabrina",
    "prompt_tokens": 9,
    "generated_tokens": 6,
    "finish_reason": "stop",
    "error": None,
    "titles": ["Seven", "Toy Story", "Sabrina"],
    "title_item_ids": [4, 1, 6],
    "title_matches": ["fuzzy", "exact", "exact"],
    "title_similarities": [0.9, 0.5, 0.4],
    "title_logprobs": None,
}


@pytest.fixture
def settings(tmp_path: Path, catalog: pa.Table) -> Settings:
    """Two snapshots of one user: scored on the first date, carried over to the second."""
    settings = load_settings(None, [f"workspace={tmp_path / 'workspace'}"])
    workspace = Workspace.of(settings)
    with workspace.writing("catalog/v1", {"dataset": "six movies"}) as folder:
        workspace.write_table(catalog, f"{folder}/part-0.parquet")
    _write_traces(workspace, pa.Table.from_pylist([TRACE], schema=TRACE_SCHEMA))
    for run_date in (FIRST, SECOND):
        _publish(workspace, catalog, run_date)
    return settings


def _write_traces(workspace: Workspace, traces: pa.Table) -> None:
    folder = night_folder(FIRST, "a-run", TRACES)
    workspace.filesystem.create_dir(workspace.path(folder), recursive=True)
    workspace.write_table(traces, workspace.path(f"{folder}/part-0.parquet"))


def _publish(workspace: Workspace, catalog: pa.Table, run_date: date) -> None:
    writer = ListWriter(catalog, np.eye(6, dtype=np.float32), "fused", WEIGHT, 3, run_date)
    rows = writer(pa.Table.from_pylist([TRACE], schema=TRACE_SCHEMA))
    folder = night_folder(run_date, "a-run")
    workspace.filesystem.create_dir(workspace.path(folder), recursive=True)
    workspace.write_table(rows, workspace.path(f"{folder}/part-0.parquet"))
    scored = Users(np.array([USER]), np.array([1]), np.array([FIRST], "datetime64[D]"))
    write_users(workspace, night_folder(run_date, "a-run", USERS), scored, np.array([], np.int64))
    whole = verify_lists(workspace, folder, np.array([USER]), run_date, 3)
    night = Night(
        run_date=run_date,
        run_id="a-run",
        users=whole.users,
        rows=whole.rows,
        files=whole.files,
        models={"sequence": "models/sequence/v1", "data": "v1", "histories": "histories/v1"},
        settings_hash="5ea7",
        metrics={"weight": WEIGHT},
        cost={},
    )
    publish(workspace, night, 0, PublishSettings())


def _run(settings: Settings, *words: str) -> Result:
    return CliRunner().invoke(app, ["explain", "--set", f"workspace={settings.workspace}", *words])


def _shown(explanation: Explanation) -> str:
    console = Console(width=400, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    explanation.show(console)
    return console.export_text()


@pytest.mark.parametrize("run_date", [FIRST, None], ids=["scored", "carried over"])
def test_what_each_model_added_is_the_published_score(
    settings: Settings, run_date: date | None
) -> None:
    explanation = explain(settings, USER, run_date=run_date)
    published = [row["score"] for row in explanation.found.rows]
    added = [item.by_sequence + item.by_language for item in explanation.items]
    assert added == pytest.approx(published)
    first = explanation.items[0]
    assert (first.item_id, first.sequence_rank, first.sequence_probability) == (4, 2, 0.25)
    assert first.by_sequence == pytest.approx((1 - WEIGHT) / 2)
    assert (first.language_rank, first.written, first.match) == (1, "Seven", "fuzzy")
    assert first.by_language == pytest.approx(WEIGHT)
    assert explanation.found.scored == FIRST


def test_the_prompt_the_answer_and_the_nearest_watched_movies_are_shown(settings: Settings) -> None:
    text = _shown(explain(settings, USER))
    assert "carried over from 2026-11-01" in text
    assert TRACE["prompt"] in text and "Seven\nToy Story\nSabrina" in text
    assert "“Seven” matched by spelling" in text
    assert "Toy Story (1995)" in text and "weight of the language model: 0.4" in text


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (1, "the user has watched it"),
        (6, "its rank is 4, and the list ends at 3"),
        (2, "neither model named it"),
    ],
)
def test_an_item_that_is_not_in_the_list_says_why(
    settings: Settings, item: int, reason: str
) -> None:
    explanation = explain(settings, USER, item)
    assert [row.item_id for row in explanation.items] == [item]
    assert f"not in the list: {reason}" in " ".join(_shown(explanation).split())


def test_pseudonymized_traces_are_found_with_the_salt_and_asked_for_without(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = pa.Table.from_pylist([TRACE], schema=TRACE_SCHEMA)
    _write_traces(Workspace.of(settings), with_hashed_users(traces, SALT.encode()))
    with pytest.raises(PublishError, match="set recommend.trace_salt_env"):
        explain(settings, USER)
    monkeypatch.setenv("A_SALT", SALT)
    salted = load_settings(
        None, [f"workspace={settings.workspace}", "recommend.trace_salt_env=A_SALT"]
    )
    assert len(explain(salted, USER).items) == 3


def test_other_ranking_settings_than_those_of_the_run_are_named(settings: Settings) -> None:
    other = load_settings(None, [f"workspace={settings.workspace}", "ranking.preset=paper"])
    with pytest.raises(PublishError, match="ranked with other settings than ranking.preset=paper"):
        explain(other, USER)


def test_what_cannot_be_explained_is_one_sentence(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match=f"no list of user {STRANGER}"):
        explain(settings, STRANGER)
    with pytest.raises(InputError, match="item 99 is not in the catalog"):
        explain(settings, USER, 99)
    with pytest.raises(PublishError, match="no snapshot of 2026-12-31"):
        explain(settings, USER, run_date=date(2026, 12, 31))
    Workspace.of(settings).remove(f"{TRACES}/run_date={FIRST}")
    with pytest.raises(PublishError, match=r"traces of that run are deleted \(publish.retention"):
        explain(settings, USER)
    empty = load_settings(None, [f"workspace={tmp_path / 'empty'}"])
    with pytest.raises(PublishError, match="holds no published snapshot"):
        explain(empty, USER)


def test_the_command_shows_a_list_and_an_error_without_a_traceback(settings: Settings) -> None:
    shown = _run(settings, "--user", str(USER))
    assert shown.exit_code == 0 and "They watched Toy Story" in shown.output
    refused = _run(settings, "--user", str(STRANGER))
    assert refused.exit_code == 1 and f"no list of user {STRANGER}" in refused.stderr
