"""The page: a user's list beside the night before, why each movie is there, and how the run went;
from other people's titles."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from dualrec.cli import app
from dualrec.publishing.manifest import latest_manifest
from dualrec.serving.pages.html import html_page
from dualrec.serving.pages.run import RunView, run_view
from dualrec.serving.pages.user import UserView, user_view
from dualrec.storage.workspace import Workspace
from tests.conftest import MOVIES
from tests.serving.pages.site import EVIL, SECOND, STRANGER, UNLISTED, WATCHED, write_nights

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def nights(catalog: pa.Table, tmp_path: Path) -> Workspace:
    """Two published nights, and one that was kept back."""
    workspace = Workspace(str(tmp_path / "workspace"))
    write_nights(workspace, catalog)
    return workspace


@pytest.fixture
def run(nights: Workspace) -> RunView:
    """The last published night."""
    manifest = latest_manifest(nights)
    assert manifest is not None and manifest.run_date == SECOND
    return run_view(nights, manifest)


def _view(nights: Workspace, run: RunView, user: int) -> UserView:
    return user_view(nights, run.manifest, run.previous, user)


class _Text(HTMLParser):
    """What a reader sees of a page, and which elements it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.elements = "", list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_list_stands_beside_the_night_before(nights: Workspace, run: RunView) -> None:
    view = _view(nights, run, WATCHED)
    assert [(row.rank, row.title, row.rank_before) for row in view.listed] == [
        (1, EVIL, 2), (2, MOVIES[3][0], 1), (3, "In No Catalog (1901)", None),
    ]  # fmt: skip
    assert view.dropped == [MOVIES[5][0]]
    assert view.listed[0].similar_history == [MOVIES[2][0], "movie 99"], (
        "what the catalog lacks is still named"
    )
    assert [one.title for one in view.watched] == ["movie 99", MOVIES[2][0], MOVIES[1][0]], (
        "newest first"
    )


def test_a_user_without_a_list_has_a_history_and_a_stranger_neither(
    nights: Workspace, run: RunView
) -> None:
    assert [len(part) for part in _view(nights, run, UNLISTED)[1:3]] == [1, 0]
    assert [len(part) for part in _view(nights, run, STRANGER)[1:3]] == [0, 0]


def test_a_run_stands_beside_the_one_before_with_its_gates(run: RunView) -> None:
    figures = {what: (now, then) for what, now, then in run.figures}
    assert figures["users"] == ("1", "1")
    assert figures["titles tied to items"] == ("93.8% of 16", "93.8% of 16")
    assert figures["money"] == ("20.0000", "20.0000")
    assert run.gates == [
        ("users", "1.000, at least 0.9", True),
        ("overlap", "not judged: no previous snapshot", None),
    ]
    assert run.unpublished == ("2026-11-03", ["error rate: 0.250, at most 0.02"])


@pytest.mark.parametrize("user", [None, WATCHED, UNLISTED, STRANGER])
def test_a_page_shows_it_and_runs_nothing(
    nights: Workspace, run: RunView, user: int | None
) -> None:
    view = None if user is None else _view(nights, run, user)
    page = _Text(html_page(run, view, {"the night": "?"}, has_form=True))
    assert (
        "script" not in page.elements and "img" not in page.elements and "link" not in page.elements
    )
    assert page.text.count("error rate: 0.250, at most 0.02") == 1
    assert (EVIL in page.text) == (user == WATCHED)
    assert ("neither" in page.text or "no list for this user" in page.text) == (
        user in (UNLISTED, STRANGER)
    )


def _report(workspace: Workspace, folder: Path, *users: int) -> Result:
    words = [word for user in users for word in ("--user", str(user))]
    return CliRunner().invoke(
        app, ["report", "--set", f"workspace={workspace.uri}", "--out", str(folder), *words]
    )


def test_the_command_writes_a_page_a_user_and_one_of_the_night(
    nights: Workspace, tmp_path: Path
) -> None:
    done = _report(nights, tmp_path / "out", WATCHED, UNLISTED)
    assert done.exit_code == 0, done.output
    names = {"index.html", f"user-{WATCHED}.html", f"user-{UNLISTED}.html"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert all(
        f'href="user-{user}.html"' in (tmp_path / "out/index.html").read_text()
        for user in (WATCHED, UNLISTED)
    )


def test_a_stranger_is_told_and_nothing_is_written(nights: Workspace, tmp_path: Path) -> None:
    done = _report(nights, tmp_path / "out", WATCHED, STRANGER)
    assert done.exit_code == 2
    assert f"user {STRANGER} has neither a list nor a history" in done.stderr
    assert not (tmp_path / "out").exists()


def test_before_the_first_night_the_way_to_one_is_told(tmp_path: Path) -> None:
    done = _report(Workspace(str(tmp_path / "none")), tmp_path / "out")
    assert done.exit_code == 1
    assert "run `dualrec nightly` first" in done.stderr


@pytest.fixture
def pages(nights: Workspace, tmp_path: Path) -> Path:
    """The written pages."""
    assert _report(nights, tmp_path / "out", WATCHED).exit_code == 0
    return tmp_path / "out"


def _browse(page: Path, *options: str) -> str:
    assert CHROMIUM
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        *options,
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_the_page_and_a_title_takes_nothing_over(
    pages: Path, tmp_path: Path
) -> None:
    page = pages / f"user-{WATCHED}.html"
    document = _browse(page, "--dump-dom")
    assert f"<title>user {WATCHED}, snapshot of {SECOND}: dualrec</title>" in document
    assert "&lt;script&gt;" in document and "<script>" not in document
    for width in (360, 1200):
        shot = tmp_path / f"{width}.png"
        _browse(page, f"--screenshot={shot}", f"--window-size={width},1600")
        picture = Image.open(shot)
        assert picture.size[0] >= width
        assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 8, "something is drawn"
