"""From a published list back to its reasons, on snapshots that the nightly job published."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dualrec.cli import app
from dualrec.nightly.nightly import nightly
from dualrec.publishing.manifest import TRACES, latest_manifest
from dualrec.serving.explanation import Explanation, explain_user
from dualrec.serving.pages.user import user_view
from dualrec.storage.workspace import Workspace
from tests.nightly.site import FIRST, ITEMS, LENGTH, SECOND, Site

FRESH, CARRIED, STRANGER = 3, 5, 404
SALT = "0123456789abcdef0123456789abcdef"

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def second(published_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two snapshots: the second scored FRESH, and carried all others over. Not to be changed."""
    site = published_site.copied(str(tmp_path_factory.mktemp("explained") / "workspace"))
    site.watch(FRESH)
    nightly(site.settings_of(SECOND))
    return site


def _explained(site: Site, user: int, salt: bytes | None = None) -> Explanation:
    workspace = Workspace(site.workspace)
    snapshot = latest_manifest(workspace)
    assert snapshot is not None
    return explain_user(workspace, snapshot, user, salt)


def _explain(site: Site, *words: str, more: tuple[str, ...] = ()) -> Result:
    settings = [word for one in (*site.settings, *more) for word in ("--set", one)]
    return CliRunner().invoke(app, ["explain", *words, *settings], env={"COLUMNS": "400"})


@pytest.mark.parametrize(("user", "scored"), [(FRESH, SECOND), (CARRIED, FIRST)])
def test_what_the_models_added_is_the_published_score_of_fresh_and_carried_users(
    second: Site, user: int, scored: str
) -> None:
    explained = _explained(second, user)
    assert str(explained.scored.run_date) == scored
    assert [reason.item_id for reason in explained.reasons] == [
        row["item_id"] for row in explained.rows
    ]
    added = [reason.sequence_part + reason.language_part for reason in explained.reasons]  # type: ignore[operator]
    assert np.array(added, np.float32).tolist() == [row["score"] for row in explained.rows]
    assert explained.trace["user_id"] == user
    assert [reason.rank for reason in explained.reasons] == list(range(1, LENGTH + 1))


def test_the_command_shows_the_list_with_prompt_and_answer(second: Site) -> None:
    shown = _explain(second, "--user", str(CARRIED))
    assert shown.exit_code == 0, shown.output
    explained = _explained(second, CARRIED)
    assert f"{FIRST}, run" in shown.output and "(carried over)" in shown.output
    for row in explained.rows:
        assert f"{row['title']} [{row['item_id']}]" in shown.output
    assert explained.trace["prompt"].splitlines()[0][:40] in shown.output
    assert second.endpoint.text in shown.output
    assert "match exact" in shown.output or "not in its answer" in shown.output
    earlier = _explain(second, "--user", str(FRESH), "--date", FIRST)
    assert "carried over" not in earlier.output and FIRST in earlier.output


def test_an_item_is_explained_in_the_list_and_out_of_it(second: Site) -> None:
    explained = _explained(second, FRESH)
    listed, watched = explained.rows[1]["item_id"], explained.trace["item_ids"][0]
    cut_off = explained.trace["sequence_item_ids"][-1]
    assert cut_off not in {row["item_id"] for row in explained.rows}

    def shown(item: int) -> str:
        result = _explain(second, "--user", str(FRESH), "--item", str(item))
        assert result.exit_code == 0, result.output
        return result.output

    assert f"at rank 2 of {LENGTH}" in shown(listed)
    assert "the user has watched it already" in shown(watched)
    assert f"item {ITEMS + 9} is outside the catalog" in shown(ITEMS + 9)
    assert f"below the list's cut-off of {LENGTH}" in shown(cut_off)
    candidates = {*explained.trace["sequence_item_ids"], *explained.trace["item_ids"]}
    others = set(range(1, ITEMS)) - candidates - set(explained.trace["title_item_ids"])
    if others:
        assert "not among the sequence model's" in shown(min(others))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--user", str(STRANGER)], f"user {STRANGER} has no list in the snapshot of {SECOND}"),
        (["--user", "3", "--date", "2020-01-01"], "no published snapshot of 2020-01-01"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(
    second: Site, words: list[str], said: str
) -> None:
    result = _explain(second, *words)
    assert result.exit_code in (1, 2) and result.stderr.count("error: ") == 1
    assert said in result.stderr and "`dualrec nightly`" in result.stderr


def test_a_workspace_without_a_snapshot_says_so(second: Site, tmp_path: Path) -> None:
    result = _explain(second, "--user", "3", more=(f"workspace={tmp_path}",))
    assert result.exit_code == 1 and "holds no published snapshot" in result.stderr


def test_traces_that_retention_deleted_are_named(second: Site, tmp_path: Path) -> None:
    site = second.copied(str(tmp_path / "workspace"))
    Workspace(site.workspace).remove(f"{TRACES}/run_date={FIRST}")
    assert _explain(site, "--user", str(FRESH)).exit_code == 0
    result = _explain(site, "--user", str(CARRIED))
    assert (
        result.exit_code == 1 and f"scored on {FIRST}, whose traces were deleted" in result.stderr
    )


@pytest.fixture(scope="module")
def pseudonymized(published_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A second snapshot whose traces have no user ids."""
    site = published_site.copied(str(tmp_path_factory.mktemp("salted") / "workspace"))
    site.watch(FRESH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_SALT", SALT)
        nightly(site.settings_of(SECOND, "recommend.trace_salt_env=A_SALT"))
    return site


def test_a_pseudonymized_trace_is_read_with_the_salt_alone(
    pseudonymized: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    salted = ("recommend.trace_salt_env=A_SALT",)
    unset = _explain(pseudonymized, "--user", str(FRESH), more=salted)
    assert unset.exit_code == 2 and "set the environment variable A_SALT" in unset.stderr
    unnamed = _explain(pseudonymized, "--user", str(FRESH))
    assert unnamed.exit_code == 1 and "set recommend.trace_salt_env" in unnamed.stderr
    monkeypatch.setenv("A_SALT", SALT)
    shown = _explain(pseudonymized, "--user", str(FRESH), more=salted)
    assert shown.exit_code == 0 and "adds" in shown.output
    assert SALT not in shown.output
    assert _explained(pseudonymized, FRESH, SALT.encode()).trace["user_id"] != FRESH


def test_the_page_of_a_user_has_the_same_reasons(second: Site) -> None:
    workspace = Workspace(second.workspace)
    snapshot = latest_manifest(workspace)
    assert snapshot is not None
    view = user_view(workspace, snapshot, None, CARRIED)
    assert view.explained is not None
    assert view.explained.reasons == _explained(second, CARRIED).reasons
    assert all("adds" in " ".join(row.reasons) for row in view.listed)
