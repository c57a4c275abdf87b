"""docs/tutorial.md, as a reader follows it: its blocks in order, in a copy of this folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dualrec.config.settings import load_settings

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/tutorial.md").read_text()
SETTINGS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_settings_of_the_tutorial_are_settings(tmp_path: Path) -> None:
    (text,) = SETTINGS
    (tmp_path / "settings.yaml").write_text(text)
    settings = load_settings(str(tmp_path / "settings.yaml"), [])
    assert settings.data.columns.user_id == "member"


@pytest.mark.long
@pytest.mark.timeout(5400)
def test_the_tutorial_leads_to_a_page(tmp_path: Path) -> None:
    for name in ("dualrec", "jobs", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/settings.yaml").write_text(SETTINGS[0])
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/dualrec"
    command.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "from dualrec.cli import main; main()" "$@"\n'
    )
    command.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL):
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            ["bash", "-e", "-c", block], cwd=tmp_path, env=environment, timeout=5000, check=False
        )
        assert done.returncode == 0, block
    pages = {path.name for path in (tmp_path / "own/report").iterdir()}
    assert pages == {"index.html", "user-1.html", "user-2.html"}
    assert "The list" in (tmp_path / "own/report/user-1.html").read_text()
