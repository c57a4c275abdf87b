"""`dualrec nights` and `dualrec rollback`: what an operator sees, and clear errors."""

from pathlib import Path

import pytest

from dualrec.publishing.publish import roll_back
from dualrec.storage.workspace import Workspace
from tests.publishing.test_publish import NEXT, both, whole
from tests.staged import NIGHT, publish_run
from tests.test_cli import assert_one_clear_error, quiet_handlers, run  # noqa: F401


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def cells(output: str, first: str) -> list[str]:
    """The cells of the row that begins with a word."""
    row = next(line for line in output.splitlines() if first in line and "│" in line)
    return [cell.strip() for cell in row.strip("│ ").split("│")]


def test_nights_lists_what_stands_and_what_a_rollback_would_bring_back(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    for run_id in "AB":
        publish_run(workspace, run_id)
    publish_run(workspace, "C", NEXT)
    result = run("nights", settings=[f"workspace={tmp_path}"])
    assert result.exit_code == 0, result.output
    assert cells(result.output, f" {NIGHT} ")[:5] == [str(NIGHT), "2", "6", "18", "B"]
    assert cells(result.output, f" {NIGHT} ")[-2:] == ["publishing", "1"]
    assert cells(result.output, f" {NEXT} ")[-2:] == ["publishing", "none"]
    roll_back(workspace, NIGHT)
    result = run("nights", settings=[f"workspace={tmp_path}"])
    row = cells(result.output, f" {NIGHT} ")
    assert (row[1], row[4], *row[-2:]) == ("3", "A", "rollback to 1", "none")


def test_nights_of_an_empty_workspace_are_none(place: str) -> None:
    result = run("nights", settings=[f"workspace={place}"])
    assert result.exit_code == 0, result.output
    assert "published run dates" in result.output and "0" in result.output


@pytest.mark.usefixtures("s3_workspace")
def test_nights_of_a_bucket_that_is_not_there_are_an_error() -> None:
    assert_one_clear_error(
        run("nights", settings=["workspace=s3://nowhere-to-be-found/x"]), "create the bucket"
    )


def test_rollback_says_what_stands_now(place: str) -> None:
    workspace = Workspace(place)
    for run_id in "AB":
        publish_run(workspace, run_id)
    result = run("rollback", str(NIGHT), settings=[f"workspace={place}"])
    assert result.exit_code == 0, result.output
    assert "run A, first published as number 1" in result.output
    assert "run B, number 2" in result.output
    assert both(workspace) == whole("A")
    assert_one_clear_error(
        run("rollback", str(NIGHT), settings=[f"workspace={place}"]), "no version before number 3"
    )


def test_rollback_of_no_night_is_a_clear_error(tmp_path: Path) -> None:
    said = (f"{NIGHT} was never published", "dualrec nights")
    assert_one_clear_error(run("rollback", str(NIGHT), settings=[f"workspace={tmp_path}"]), *said)
    result = run("rollback", "1.11.2026", settings=[f"workspace={tmp_path}"])
    assert result.exit_code == 2 and "'%Y-%m-%d'" in result.output


def test_a_narrow_terminal_cuts_nothing_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    publish_run(Workspace(str(tmp_path)), "0001-0123456789ab")
    result = run("nights", settings=[f"workspace={tmp_path}"])
    table = result.output[result.output.index("run date") :]
    assert cells(table, str(NIGHT))[0] == str(NIGHT)
    assert "…" not in table


@pytest.mark.parametrize(
    ("command", "taught"), [("nights", "next number"), ("rollback", "YYYY-MM-DD")]
)
def test_help_teaches(command: str, taught: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0 and taught in " ".join(result.output.split())
