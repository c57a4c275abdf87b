"""DeepSpeed around a model, in a process of its own as a job starts it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = """
import torch
from dualrec.config.settings import FinetuneSettings
from dualrec.language.steps import build_engine

build_engine(torch.nn.Linear(4, 4), FinetuneSettings(), workers=1)
"""


def test_its_start_shows_no_errors_of_compilers_that_it_tries() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert not [line for line in done.stderr.splitlines() if "error" in line or "/ld" in line]
