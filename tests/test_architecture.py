"""What holds the design together: data flows one way, files stay small, and importing stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dualrec"

# Each part may import those before it, and itself.
ORDER = [
    "errors", "threads", "keys", "schemas", "overrides", "settings", "pseudonyms", "storage", "workspace", "journal", "training", "tracking", "model_card", "false_alarms", "session", "replicas", "summary", "live_metrics", "progress", "accuracy", "requests", "publish", "assets",
    "data", "sequence", "language", "embeddings", "scoring", "ranking", "fusion", "listing", "recommend", "nightly", "page", "serving", "evaluation", "checks", "estimate", "pipeline", "benchmark", "cli",
]  # fmt: skip


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_part_imports_only_earlier_parts(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    allowed = set(ORDER[: ORDER.index(_part(path)) + 1])
    for name in _imports(path):
        assert not name.startswith("jobs"), f"{path.name} imports {name}: dualrec never imports a job"
        if name.startswith("dualrec."):
            assert name.split(".")[1] in allowed, f"{path.name} imports {name}, a later part"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_no_drawer_for_everything() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "base", "manager", "misc"}


def test_jobs_are_thin() -> None:
    for path in (ROOT / "jobs").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 80


def test_importing_the_command_and_every_step_loads_nothing_heavy() -> None:
    light = ["dualrec.cli", "dualrec.data.prepare", "dualrec.language.generate", "dualrec.ranking", "dualrec.recommend"]
    light += ["dualrec.benchmark", "dualrec.evaluation.evaluate", "dualrec.evaluation.fitting"]
    light += ["dualrec.publish.nights", "dualrec.publish.retention", "dualrec.publish.verify"]
    code = (
        "import sys, importlib\n"
        f"for name in {light}: importlib.import_module(name)\n"
        "print([name for name in ('vllm', 'transformers', 'sentence_transformers', 'torch', 'deltalake', 'boto3') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
