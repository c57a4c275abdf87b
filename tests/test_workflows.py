"""What GitHub Actions runs: targets that the Makefile has, within a time limit, with logs of what
failed."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github/workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yaml"))


def read(name: str) -> dict[str, Any]:
    """A workflow. YAML 1.1, which PyYAML reads, takes its key `on` for a truth value."""
    workflow = yaml.safe_load((FOLDER / name).read_text())
    return {"on" if key is True else key: value for key, value in workflow.items()}


def targets(workflow: dict[str, Any]) -> set[str]:
    """The targets of make that its steps call, with each value of their matrix."""
    called: set[str] = set()
    for job in workflow["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        for step in job["steps"]:
            for word in re.findall(r"\bmake (\$\{\{.*?\}\}|[\w-]+)", step.get("run", "")):
                key = re.fullmatch(r"\$\{\{ matrix\.(\w+) \}\}", word)
                called |= set(matrix[key[1]]) if key else {word}
    return called


def test_a_change_runs_make_test_and_the_schedule_what_it_leaves_out() -> None:
    changes, nightly = read("tests.yaml"), read("nightly.yaml")
    assert {"push", "pull_request"} <= changes["on"].keys()
    assert "test" in targets(changes)
    assert re.fullmatch(r"\d+ \d+ \* \* \*", nightly["on"]["schedule"][0]["cron"]), "once a day"
    assert {"long", "chaos"} <= targets(nightly)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_make_knows_every_target_that_is_called(path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for target in targets(read(path.name)):
        dry = subprocess.run(
            ["make", "-n", target],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert dry.returncode == 0, dry.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_end_have_the_projects_python_keep_packages_and_leave_logs_where_they_fail(
    path: Path,
) -> None:
    for job in read(path.name)["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 360
        uses = {step["uses"].partition("@")[0]: step for step in job["steps"] if "uses" in step}
        assert all(re.fullmatch(r"[\w/-]+@v\d+", step["uses"]) for step in uses.values()), (
            "a major version of each"
        )
        python = uses["actions/setup-python"]["with"]
        assert (python["python-version"], python["cache"]) == ("3.11", "pip")
        assert list(ROOT.glob(python["cache-dependency-path"]))
        logs = uses["actions/upload-artifact"]
        assert logs["if"] == "failure()"
        assert "test.log" in logs["with"]["path"].split()
        (tested,) = (step for step in job["steps"] if step.get("name") == "Test")
        assert tested["run"].endswith("| tee test.log")
        assert tested["shell"] == "bash", "GitHub's default shell takes the exit code of tee"
