"""What the pages for contributors promise: the hooks are `make lint`'s, and the baseline of
docs/extending.md is one."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import yaml

from dualrec.baselines.baseline import Baseline, Items, TrainingData
from dualrec.config.settings import BaselineSettings

ROOT = Path(__file__).parents[1]


def test_the_hooks_are_those_of_make_lint_and_fetch_nothing():
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [one["repo"] for one in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    dry = ["make", "-n", "-o", "install", "lint"]  # what it would run, the installation left out
    lint = subprocess.run(
        dry, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert [hook["entry"] for hook in hooks] == [
        line.removesuffix(" .") for line in lint.stdout.splitlines()
    ]


def test_the_example_baseline_learns_what_follows_what():
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/extending.md").read_text(), re.DOTALL
    )
    names: dict[str, object] = {}
    exec(compile(code, "docs/extending.md", "exec"), names)
    markov = names["BASELINE"]
    assert isinstance(markov, Baseline)
    items = Items(np.arange(1, 13), np.eye(12, dtype=np.float32))
    histories = [np.array([(user + step) % 12 + 1 for step in range(9)]) for user in range(30)]
    parameters = {name: values[0] for name, values in markov.ranges.items()}
    fitted = markov.fit(TrainingData(items, histories, histories, BaselineSettings()), parameters)
    scores = markov.scorer(fitted.state, items, parameters)(
        [np.array([5, 6]), np.array([12]), np.array([], np.int64)]
    )
    assert scores.shape == (3, 12)
    assert scores.argmax(1)[:2].tolist() == [7 - 1, 1 - 1]
    assert fitted.ndcg_at_10 == 1.0


def test_the_pages_name_files_that_are_there():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(((?!https?:|#)[^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"
