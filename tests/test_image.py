"""The container images: the Dockerfile is sound, copies what there is, and holds no more than the locks and the code."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def stages() -> dict[str, str]:
    """Name to text of each stage."""
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", DOCKERFILE, flags=re.MULTILINE)
    return {
        name: f"FROM {start}\n{text}" for start, name, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    }


def copied() -> list[str]:
    """What the Dockerfile copies from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()]


def sent(name: str) -> bool:
    """Whether .dockerignore sends a file to the builder; the last line that fits decides."""
    decided = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and (fnmatch(name, pattern) or fnmatch(name, f"{pattern}/*")):
            decided = line.startswith("!")
    return decided


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("target", "lock"), [("cpu", "cpu.txt"), ("gpu", "gpu.txt")])
def test_each_target_holds_its_own_lock_whole_and_runs_as_no_root(target: str, lock: str):
    ends, packages = stages()[target], stages()[f"{target}-packages"]
    assert f"COPY --from={target}-packages /opt/dualrec /opt/dualrec" in ends
    assert re.search(rf"pip install .*--no-deps -r /locks/{re.escape(lock)}$", packages, re.MULTILINE)
    assert re.findall(r"^USER (.*)$", ends, re.MULTILINE) == ["1000"], "a number, as Kubernetes' runAsNonRoot needs"


def test_a_change_of_code_installs_no_package_again():
    for target in ("cpu", "gpu"):
        text = stages()[target]
        assert text.index("COPY --from") < text.index("COPY dualrec")
    assert not [name for name in copied() if name in ("dualrec", "jobs") and f"COPY {name}" in stages()["build"]]


def test_every_copied_file_is_there_and_sent_to_the_builder():
    assert {"dualrec", "jobs", "requirements/cpu.txt", "requirements/gpu.txt"} <= set(copied())
    for name in copied():
        assert (ROOT / name).exists()
        assert sent(name if (ROOT / name).is_file() else f"{name}/__init__.py")


@pytest.mark.parametrize("name", ["workspace/models/a", ".git/config", ".venv/bin/python", "tests/conftest.py", ".env"])
def test_nothing_else_is_sent(name: str):
    assert not sent(name)


def test_the_base_is_an_exact_version_of_the_projects_python():
    (base,) = re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)
    assert {start for start in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)} == {
        "${PYTHON}", "system", "build",
    }  # fmt: skip
