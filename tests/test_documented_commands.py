"""Every command of the pages exists and takes those options, and every setting
in it is one that exists."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer
from click import Context

from dualrec.cli import app
from dualrec.config.settings import load_settings

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
# Placeholders of the pages, each with a value that exists.
NAMES = {
    "FILE": "jobs/configs/local.yaml",
    "CONFIG": "jobs/configs/local.yaml",
    "settings.yaml": "jobs/configs/local.yaml",
    "own/settings.yaml": "jobs/configs/local.yaml",
    "DATE": "2026-11-01",
    "NAME...": "ml-100k",
    "ID": "42",
    "a.b=c": "sequence.epochs=1",
    "$SET": "",
}
OURS = re.compile(r"(?:dualrec|make|python -m jobs\.\w+|python scripts/\w+\.py)(?: |$)")


def _commands_of(page: Path) -> Iterator[str]:
    """The commands of a page: lines of its blocks, continued ones joined, and what is between
    backquotes."""
    text = page.read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    lines += [
        line.strip()
        for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in lines:
        own = line.split(" -- ")[-1].strip() if line.startswith("ray job submit") else line
        if OURS.match(own):
            yield re.sub(r"\s+# .*", "", own)


COMMANDS = sorted({(page.name, command) for page in PAGES for command in _commands_of(page)})


def _words(command: str) -> list[str]:
    words = [NAMES.get(word, word) for word in shlex.split(command.replace("$DATE", "2026-11-01"))]
    return [word for word in words if word]


def _is_parsed(name: str, words: list[str]) -> None:
    """The subcommand takes the words, and the settings among them are read."""
    whole = typer.main.get_command(app)
    subcommand = whole.get_command(Context(whole), name)  # type: ignore[attr-defined]
    assert subcommand is not None, f"there is no `dualrec {name}`"
    parsed = subcommand.make_context(name, list(words)).params if words else {}
    config = parsed.get("config")
    load_settings(str(ROOT / config) if config else None, parsed.get("overrides"))


@cache
def _has_target(target: str) -> bool:
    """Whether the Makefile has the target."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    dry = ["make", "-n", "-o", "install", target]
    return (
        subprocess.run(dry, cwd=ROOT, env=environment, capture_output=True, timeout=60).returncode
        == 0
    )


@pytest.mark.parametrize(
    ("page", "command"), COMMANDS, ids=[f"{page}: {command}"[:120] for page, command in COMMANDS]
)
def test_a_documented_command_exists(page: str, command: str) -> None:
    words = _words(command)
    if words[0] == "make":
        assert _has_target(words[1].partition("|")[0])
    elif words[0] == "dualrec" and "|" in words:
        first, *_, last = (part.strip() for part in " ".join(words[1:]).split("|"))
        for name in (first, *(part.strip() for part in command.split("|")[1:-1]), last.split()[0]):
            _is_parsed(name, last.split()[1:] if name == last.split()[0] else [])
    elif words[0] == "dualrec":
        if words[1] != "JOB":
            _is_parsed(words[1], words[2:])
    elif words[1] == "-m":
        assert (ROOT / f"{words[2].replace('.', '/')}.py").exists()
        _is_parsed(words[2].removeprefix("jobs.").replace("_", "-"), words[3:])
    else:
        assert (ROOT / words[1]).exists()
        script = (ROOT / words[1]).read_text()
        for option in (word for word in words[2:] if word.startswith("--")):
            assert f'"{option}"' in script or option in ("--config", "--set"), (
                f"{words[1]} has no {option}"
            )


def test_an_unknown_option_or_setting_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        _is_parsed("prepare", ["--no-such-option"])
    assert not _has_target("no-such-target")
    with pytest.raises(ValueError, match="no such setting"):
        _is_parsed("prepare", ["--set", "data.sourse=x"])


def test_pages_contain_commands() -> None:
    assert len(COMMANDS) > 40
    assert {page for page, _ in COMMANDS} >= {
        "README.md",
        "nightly.md",
        "serving.md",
        "monitoring.md",
        "cluster.md",
    }
