"""What holds the design together: data flows one way, files stay small, imports stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dualrec"

# Each part may import those before it, and itself.
ORDER = [
    *("errors", "config", "storage", "cluster", "assets", "data"),
    *("sequence", "language", "scoring", "ranking", "baselines", "evaluation"),
    *("publishing", "nightly", "serving", "pipeline", "cli"),
]


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(source: str) -> set[str]:
    """Dotted names of the modules that a file imports, and of what it takes from them, which may be
    modules too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, (
                "imports name the whole path, so that this test can follow them"
            )
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def _refused(part: str, source: str) -> list[str]:
    """What a file of a part imports although it may not: later parts, and jobs."""
    later = {f"dualrec.{name}" for name in ORDER[ORDER.index(part) + 1 :]} | {"jobs"}
    return [
        name
        for name in _imports(source)
        if any(f"{name}.".startswith(f"{other}.") for other in later)
    ]


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_part_imports_only_earlier_parts(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return
    assert _refused(_part(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("from dualrec import nightly", True),
        ("from dualrec.nightly import plan", True),
        ("from dualrec.nightly.plan import Plan", True),
        ("import dualrec.nightly.plan as plan", True),
        ("def late():\n    from dualrec import nightly", True),
        ("from jobs import run", True),
        ("import jobs.run", True),
        ("from dualrec import __version__, errors", False),
        ("from dualrec.publishing.publish import publish", False),
    ],
)
def test_a_later_part_is_noticed_however_it_is_imported(line: str, refused: bool) -> None:
    assert bool(_refused("publishing", line)) is refused


def test_every_part_has_its_place_in_the_order() -> None:
    parts = {_part(path) for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}
    assert sorted(ORDER) == sorted(parts)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_file_is_read_in_one_sitting(path: Path) -> None:
    longest = 400 if path == PACKAGE / "cli.py" else 300  # a list of commands, not read as a whole
    assert len(path.read_text().splitlines()) <= longest


def test_no_drawer_for_everything() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "base", "manager", "misc"}


def test_jobs_are_thin() -> None:
    for path in (ROOT / "jobs").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 80


def test_importing_the_command_and_every_step_loads_nothing_heavy() -> None:
    light = [
        "dualrec.cli",
        "dualrec.data.prepare",
        "dualrec.language.generate",
        "dualrec.ranking.lists",
        "dualrec.ranking.recommend",
    ]
    light += [
        "dualrec.pipeline.benchmark",
        "dualrec.evaluation.evaluate",
        "dualrec.evaluation.fitting",
    ]
    light += [
        "dualrec.publishing.nights",
        "dualrec.publishing.retention",
        "dualrec.publishing.verify",
    ]
    code = (
        "import sys, importlib\n"
        f"for name in {light}: importlib.import_module(name)\n"
        "heavy = 'vllm transformers sentence_transformers torch deltalake boto3'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == "[]"
