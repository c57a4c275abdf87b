"""The command on bad input: one clear error that says the way out, a non-zero exit, no traceback,
nothing half made."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dualrec.cli import app

ROOT = Path(__file__).parent.parent
TINY = [
    f"sequence.{name}=8"
    for name in ("item_dimension", "title_dimension", "genre_dimension", "dense")
]
TINY += ["sequence.hidden=[8,8]", "sequence.epochs=1"]


def run(*words: str, settings: tuple[str, ...] | list[str] = ()) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, [*words, *(word for one in settings for word in ("--set", one))])


@pytest.fixture(autouse=True)
def quiet_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers of the log, ours and Ray Data's, keep the captured stderr of the first call, which
    is closed by then."""
    monkeypatch.setattr(logging, "raiseExceptions", False)


def own(tmp_path: Path, *more: str) -> list[str]:
    """Settings that keep a run within the test's folder."""
    return [
        f"workspace={tmp_path / 'workspace'}",
        f"cache={tmp_path / 'cache'}",
        "data.shards=1",
        *more,
    ]


def assert_one_clear_error(result: Result, *said: str, code: int = 1) -> None:
    """The output is one message with all of `said`, and the exit has the code."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.count("error: ") == 1, result.stderr
    for words in said:
        assert words in result.stderr
    assert "Traceback" not in result.output


def test_an_unknown_setting_is_named_with_its_neighbours(tmp_path: Path) -> None:
    result = run("prepare", settings=own(tmp_path, "data.sourse=ml-100k"))
    assert_one_clear_error(
        result, "data.sourse: no such setting", "there are source, items", code=2
    )


def test_a_missing_settings_file_is_named(tmp_path: Path) -> None:
    result = run("prepare", "--config", str(tmp_path / "none.yaml"))
    assert_one_clear_error(
        result, f"{tmp_path / 'none.yaml'} does not exist", "jobs/configs/", code=2
    )


@pytest.mark.parametrize("value", ["[1, 2", "{a: b: c}"])
def test_a_value_that_is_no_yaml_is_named(tmp_path: Path, value: str) -> None:
    assert_one_clear_error(
        run("prepare", settings=own(tmp_path, f"data.source={value}")),
        "--set data.source=…",
        code=2,
    )


def test_an_unknown_data_set_is_named_with_the_known_ones(tmp_path: Path) -> None:
    result = run("prepare", settings=own(tmp_path, "data.source=ml-1k"))
    assert_one_clear_error(
        result, "'ml-1k' is no known data set", "ml-100k, ml-1m", "a folder, a .zip"
    )


def test_an_unknown_name_to_fetch_is_named_with_the_known_ones(tmp_path: Path) -> None:
    result = run("fetch", "ml-1k", settings=own(tmp_path))
    assert_one_clear_error(result, "'ml-1k' is no known asset", "smollm2-135m")


def test_a_truncated_zip_is_named(tmp_path: Path, movielens: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "data"), "zip", movielens))
    archive.write_bytes(archive.read_bytes()[:-100])
    result = run("prepare", settings=own(tmp_path, f"data.source={archive}"))
    assert_one_clear_error(result, f"{archive}: truncated or corrupt", "copy it again")
    assert not (tmp_path / "workspace").exists()


def test_a_job_without_the_one_before_it_says_which_to_run(tmp_path: Path) -> None:
    for job in ("train-sequence", "recommend", "evaluate"):
        assert_one_clear_error(run(job, settings=own(tmp_path)), "run `dualrec prepare` first")


def test_the_modules_of_the_jobs_say_the_same_as_the_command(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "jobs.prepare", "--set", "data.sourse=ml-100k"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: settings:\n  data.sourse: no such setting")
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("place", ["file/workspace", "file"])
def test_a_workspace_that_cannot_be_written_is_named(
    tmp_path: Path, movielens: Path, place: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    settings = own(tmp_path, f"data.source={movielens}", f"workspace={tmp_path / place}")
    assert_one_clear_error(
        run("prepare", settings=settings),
        f"workspace {tmp_path / place} cannot be written",
        "--set workspace=FOLDER",
    )


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_an_unknown_model_is_named_with_the_known_ones_and_nothing_is_published(
    tmp_path: Path, movielens: Path
) -> None:
    settings = own(tmp_path, f"data.source={movielens}", *TINY)
    for job in ("prepare", "train-sequence"):
        assert run(job, settings=settings).exit_code == 0
    result = run("recommend", settings=[*settings, "language.model=smollm3"])
    assert_one_clear_error(
        result, "'smollm3' is no known model", "smollm2-135m", "a folder or a .zip"
    )
    result = run("recommend", settings=[*settings, f"language.model={movielens}"])
    assert_one_clear_error(result, f"{movielens} holds no config.json")
    assert not (tmp_path / "workspace" / "recommendations").exists()
