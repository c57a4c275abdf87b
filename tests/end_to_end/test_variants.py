"""Systems that ask a language model in other ways than the one in force, each with an engine of its
own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_baselines_and_variants_that_ask_a_language_model_stand_in_the_report(
    tmp_path: Path,
) -> None:
    small = [
        f"workspace={tmp_path}", "sequence.preset=paper", "sequence.epochs=1", "language.tuned=null", "evaluation.max_users=8",
        "ranking.calibration_users=8", "baselines.systems=[SKNN, NIR]", "baselines.trials=1", "evaluation.protocols=[last_five]",
        "evaluation.variants=[{name: shuffled, shuffled: true}, {name: ranking, fused: true, set: {language.mode: rank}}]",
    ]  # fmt: skip
    options = [word for one in small for word in ("--set", one)]
    for job in ("prepare", "train_sequence", "fit_baselines", "evaluate"):
        command = [
            sys.executable,
            "-m",
            f"jobs.{job}",
            "--config",
            "jobs/configs/local.yaml",
            *options,
        ]
        subprocess.run(command, cwd=ROOT, check=True, timeout=1500)
    (report,) = (tmp_path / "reports").glob("*/attempt-*")
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["systems"]["NIR"]["kind"] == "baseline"
    models = set(metrics["protocols"]["last_five"]["models"])
    assert {
        "language model alone, shuffled",
        "language model alone, ranking",
        "fused, ranking",
    } <= models
    assert not {"fused, shuffled", "paper, ranking"} & models, "neither is made of such answers"
