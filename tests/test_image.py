"""The container images: the Dockerfile is sound, copies what there is, and holds no more than the
locks and the code."""

import re
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@dataclass(frozen=True)
class Stage:
    """A stage of the Dockerfile: what it starts from, and its instructions in order, each with its
    arguments."""

    start: str
    instructions: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """The arguments of every instruction of a name."""
        return [arguments for instruction, arguments in self.instructions if instruction == name]

    def copied(self) -> list[str]:
        """What it copies from the repository."""
        return [
            source
            for copy in self.all("COPY")
            if "--from=" not in copy
            for source in copy.split()[:-1]
        ]

    def stages_copied_from(self) -> list[str]:
        """The stages that it takes files of."""
        return re.findall(r"--from=(\S+)", " ".join(self.all("COPY")))


def stages() -> dict[str, Stage]:
    """The stages by name, in order."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    found: dict[str, Stage] = {}
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, arguments = line.strip().partition(" ")
        if instruction == "FROM":
            start, _, name = arguments.split()
            found[name] = Stage(start, [])
        elif instruction and found:
            found[list(found)[-1]].instructions.append((instruction, " ".join(arguments.split())))
    return found


def copied() -> list[str]:
    """What the Dockerfile copies from the repository."""
    return [source for stage in stages().values() for source in stage.copied()]


def sent(name: str) -> bool:
    """Whether .dockerignore sends a file to the builder; the last line that fits decides."""
    decided = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if (
            line
            and not line.startswith("#")
            and (fnmatch(name, pattern) or fnmatch(name, f"{pattern}/*"))
        ):
            decided = line.startswith("!")
    return decided


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("target", "lock"), [("cpu", "cpu.txt"), ("gpu", "gpu.txt")])
def test_each_target_holds_its_own_lock_whole_and_runs_as_no_root(target: str, lock: str):
    (packages,) = stages()[target].stages_copied_from()
    assert stages()[packages].copied() == [f"requirements/{lock}"]
    (install,) = stages()[packages].all("RUN")
    words = install.split()
    assert words[words.index("-r") + 1] == f"/locks/{lock}" and "--no-deps" in words
    assert stages()[target].all("USER") == ["1000"], "a number, as Kubernetes' runAsNonRoot needs"


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_change_of_code_installs_no_package_again(target: str):
    code = {"dualrec", "jobs"}
    with_code = [name for name, stage in stages().items() if code & set(stage.copied())]
    assert with_code == ["cpu", "gpu"], "no stage that others are built from"
    steps = [
        arguments
        for instruction, arguments in stages()[target].instructions
        if instruction in ("COPY", "RUN")
    ]
    assert ["--from=" in arguments for arguments in steps] == [True, False, False], (
        "first the packages, then the code"
    )
    assert set(stages()[target].copied()) == code


def test_every_copied_file_is_there_and_sent_to_the_builder():
    assert {"dualrec", "jobs", "requirements/cpu.txt", "requirements/gpu.txt"} <= set(copied())
    for name in copied():
        assert (ROOT / name).exists()
        assert sent(name if (ROOT / name).is_file() else f"{name}/__init__.py")


@pytest.mark.parametrize(
    "name", ["workspace/models/a", ".git/config", ".venv/bin/python", "tests/conftest.py", ".env"]
)
def test_nothing_else_is_sent(name: str):
    assert not sent(name)


def test_the_base_is_an_exact_version_of_the_projects_python():
    (base,) = re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)
    assert {stage.start for stage in stages().values()} == {"${PYTHON}", "system", "build"}
