"""The job `run` on a small site: the language model is asked everything once, in one pass, and
measuring asks it nothing.

Then `evaluate` with what asks a language model otherwise: variants of ours, and NIR.
"""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data

from dualrec.baselines.nir import filtered_candidates
from dualrec.config.settings import Settings, overridden
from dualrec.data.prepare import prepared
from dualrec.evaluation.cases import questions_of_test_users
from dualrec.evaluation.evaluate import evaluate
from dualrec.evaluation.fitting import numbered_split
from dualrec.pipeline.run import run
from dualrec.ranking.recommend import recommend
from dualrec.storage.schemas import TRACES
from dualrec.storage.workspace import Workspace
from tests.conftest import numbered_movies
from tests.fake_endpoint import fake_endpoint
from tests.language.tiny_models import write_model
from tests.nightly.site import FIRST, ITEMS, SECOND, Site

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(900)]

MADE_BY_SCORING = ("recommendations", "traces", "predictions", "reports", "models/fusion")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, ray_cluster: str) -> Iterator[Site]:
    """Histories, and an endpoint that answers every prompt alike."""
    folder = tmp_path_factory.mktemp("run")
    with fake_endpoint() as endpoint:
        yield Site(folder, str(folder / "workspace"), endpoint, ray_cluster)


def _settings(site: Site, run_date: str, *more: str) -> Settings:
    return site.settings_of(
        run_date,
        "recommend.split=test",
        "evaluation.protocols=[next_item, last_five, candidates_20]",
        "evaluation.bootstrap_samples=20",
        "evaluation.permutations=19",
        *more,
    )


def _users(settings: Settings) -> dict[str, int]:
    workspace = Workspace(settings.workspace)
    users: dict[str, int] = workspace.description(prepared(workspace, settings).histories)["users"]
    return users


def _calibrated(settings: Settings) -> int:
    return min(settings.ranking.calibration_users, _users(settings)["validation"])


def _report(settings: Settings) -> dict[str, Any]:
    (folder,) = Path(settings.workspace, "reports").glob("*/attempt-*")
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def _without(settings: Settings, folder: Path, *names: str) -> Settings:
    """The same in a copy of the workspace that lacks some of its artifacts."""
    shutil.copytree(settings.workspace, folder)
    for name in names:
        shutil.rmtree(folder / name)
    return settings.model_copy(update={"workspace": str(folder)})


@pytest.fixture(scope="module")
def done(site: Site) -> Settings:
    """Settings whose `run` is over; what the endpoint was asked is still to be counted."""
    settings = _settings(site, FIRST)
    run(settings)
    return settings


def test_each_prompt_is_sent_once_and_measuring_again_sends_none(
    site: Site, done: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, test = site.asked(), _users(done)["test"]
    assert set(asked.values()) == {1}
    assert len(asked) == test + 2 * test + _calibrated(done)
    metrics = _report(done)
    shutil.rmtree(Path(done.workspace, "reports"))
    evaluate(done)
    assert not site.asked()
    again = _report(done)
    assert again["protocols"] == metrics["protocols"]
    assert {"language model alone", "paper", "fused"} <= set(
        again["protocols"]["last_five"]["models"]
    )
    (marker,) = Path(done.workspace, "predictions").glob("*.artifact.json")
    assert json.loads(marker.read_text())["cases"] == 2 * test

    summary = run(_settings(site, SECOND))
    assert len(site.asked()) == test, (
        "the next night scores its users; the cases are answered already"
    )
    assert (
        "prepare, train-sequence, fit-baselines, recommend-and-predict, evaluate; what is there"
        in capsys.readouterr().out
    )
    steps = ("prepare", "train-sequence", "fit-baselines", "recommend", "evaluate")
    assert list(summary.lines) == [f"{name} took" for name in steps]
    assert Path(summary.outputs["the report, a page for your browser"]).is_file()
    (next_steps,) = summary.tables
    assert next_steps.row_count == 5


def test_evaluate_alone_asks_for_what_is_missing_and_writes_the_same_artifact(
    site: Site, done: Settings, tmp_path: Path
) -> None:
    site.asked()
    alone = _without(done, tmp_path / "workspace", "predictions", "reports")
    site.endpoint.faults = itertools.chain([400] * 4)
    evaluate(alone)
    assert site.asked().total() == 2 * _users(done)["test"], (
        "the weight is known, so validation users are not asked"
    )
    predicted = [
        {path.name for path in Path(one.workspace, "predictions").iterdir()}
        for one in (alone, done)
    ]
    assert predicted[0] == predicted[1]


def test_an_endpoint_that_refuses_every_row_still_gives_a_report(
    site: Site, done: Settings, tmp_path: Path
) -> None:
    refused = _without(done, tmp_path / "workspace", "predictions", "reports", "models/fusion")
    site.endpoint.faults = itertools.repeat(400, 1000)
    evaluate(refused)
    site.endpoint.faults = iter(())
    models = _report(refused)["protocols"]["last_five"]["models"]
    assert models["language model alone"]["HR@10"]["value"] == 0
    assert models["fused"]["HR@10"] == models["sequence model alone"]["HR@10"]


def test_where_the_paper_s_lists_are_written_the_fused_ones_are_measured_in_the_same_pass(
    site: Site, done: Settings, tmp_path: Path
) -> None:
    settings = _settings(site, FIRST, "ranking.preset=paper")
    settings = _without(settings, tmp_path / "workspace", *MADE_BY_SCORING)
    site.asked()
    run(settings)
    asked, test = site.asked(), _users(settings)["test"]
    assert set(asked.values()) == {1}
    assert len(asked) == test + 2 * test + _calibrated(settings)
    assert "fused" in _report(settings)["protocols"]["next_item"]["models"]
    recommend(_settings(site, FIRST).model_copy(update={"workspace": settings.workspace}))
    assert len(site.asked()) == test, (
        "the weight that was chosen for measuring serves the fused lists too"
    )


def test_a_variant_asks_the_endpoint_anew_and_stands_beside_the_model_in_force(
    site: Site, done: Settings, tmp_path: Path
) -> None:
    settings = overridden(
        _without(done, tmp_path / "workspace", "reports"),
        [
            "evaluation.variants=[{name: shuffled, shuffled: true}]",
            "evaluation.variant_protocols=[next_item]",
        ],
    )
    site.asked()
    evaluate(settings)
    asked = site.asked()
    workspace = Workspace(settings.workspace)
    (predictions,) = workspace.folders("predictions")
    traces = workspace.read_table(
        workspace.content(f"predictions/{predictions}"), TRACES, ["purpose", "prompt"]
    ).to_pylist()
    assert set(asked.values()) == {1}
    assert set(asked) == {trace["prompt"] for trace in traces if trace["purpose"] == "next_item"}, (
        "the same histories"
    )
    models = {
        protocol: set(result["models"])
        for protocol, result in _report(settings)["protocols"].items()
    }
    assert "language model alone, shuffled" in models["next_item"]
    assert "language model alone, shuffled" not in models["last_five"]
    assert "fused, shuffled" not in models["next_item"], "no list to serve is made of such answers"


def test_nir_and_the_variants_of_a_model_that_knows_the_rule_stand_in_the_report(
    done: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NIR asks no endpoint: functions stand in for the models and the engine, which `make long`
    has."""
    monkeypatch.setattr("dualrec.evaluation.predictions.score", _scored_by_the_rule)
    monkeypatch.setattr("dualrec.evaluation.nir_answers.generate", _steps_of_nir)
    variants = (
        "[{name: shuffled, shuffled: true}, "
        "{name: ranking, fused: true, set: {language.mode: rank}}]"
    )
    settings = overridden(
        _without(done, tmp_path / "workspace", "reports"),
        [
            f"language.model={write_model(tmp_path / 'model', 'qwen2')}",
            "language.max_prompt_tokens=1024",
            "baselines.systems=[NIR]",
            "evaluation.protocols=[next_item]",
            f"evaluation.variants={variants}",
        ],
    )
    evaluate(settings)
    metrics = _report(settings)
    assert metrics["systems"]["NIR"]["kind"] == "baseline"
    models = metrics["protocols"]["next_item"]["models"]
    assert not {"fused, shuffled", "paper, ranking"} & set(models), (
        "neither is made of such answers"
    )
    assert {"fused", "fused, ranking"} <= set(models)
    right = {
        name: models[f"language model alone{name}"]["HR@1"]["value"]
        for name in ("", ", ranking", ", shuffled")
    }
    assert right == {"": 1, ", ranking": 1, ", shuffled": 0}, (
        "who knows the rule needs the user's own history"
    )
    assert _first_of_nir(settings) == _first_candidates(settings), (
        "each step's answers went into the user's next"
    )


def _scored_by_the_rule(
    requests: ray.data.Dataset, models: object, settings: Settings, counter: object
) -> Any:
    """In place of scoring: the language model names the next movie of the cycle first."""
    likelihoods = [-0.1, -2.0] if settings.language.mode == "rank" else None
    titles = {item: title for item, (title, _) in numbered_movies(ITEMS).items()}

    def answered(rows: pa.Table) -> pa.Table:
        traces = []
        for row in rows.to_pylist():
            right, wrong = ((row["item_ids"][-1] + ahead) % ITEMS + 1 for ahead in (0, 1))
            told = {
                "sequence_item_ids": [wrong, right],
                "sequence_scores": [0.6, 0.3],
                "prompt": "a prompt",
                "generated_text": titles[right],
                "prompt_tokens": 60,
                "generated_tokens": 7,
                "finish_reason": "stop",
                "titles": [titles[right], titles[wrong]],
                "title_item_ids": [right, wrong],
                "title_matches": ["exact"] * 2,
                "title_similarities": [0.5, 1.0],
                "title_logprobs": likelihoods,
            }
            traces.append({**row, **told})
        return pa.Table.from_pylist(traces, schema=TRACES)

    return requests.map_batches(answered, batch_format="pyarrow", num_cpus=0.1)


def _steps_of_nir(requests: ray.data.Dataset, *_: object) -> Any:
    """In place of the engine: the third answer names the first candidate, where the prompt holds
    the user's answers before."""

    def answered(rows: pa.Table) -> pa.Table:
        texts = []
        for row in rows.to_pylist():
            own = f"said to user {row['user_id']}."
            candidate = row["prompt"].partition("(candidate movies): ")[2].partition(", ")[0]
            texts.append(
                f"1. a watched movie - {candidate}" if row["prompt"].count(own) == 2 else own
            )
        return rows.append_column("generated_text", pa.array(texts, pa.string()))

    return requests.map_batches(answered, batch_format="pyarrow", num_cpus=0.1)


def _first_of_nir(settings: Settings) -> dict[int, int]:
    """The item that each user's list of NIR begins with."""
    (report,) = Path(settings.workspace, "reports").glob("*/attempt-*")
    rows = pq.read_table(report / "lists" / "next_item.parquet", partitioning=None).to_pylist()
    return {
        row["user_id"]: row["item_id"] for row in rows if (row["system"], row["rank"]) == ("NIR", 1)
    }


def _first_candidates(settings: Settings) -> dict[int, int]:
    workspace, data = (
        Workspace(settings.workspace),
        prepared(Workspace(settings.workspace), settings),
    )
    item_ids = data.catalog.column("item_id").to_numpy()
    cases = questions_of_test_users(workspace, settings).asked["next_item"]
    training = numbered_split(workspace, data, "train", item_ids)
    first = filtered_candidates(cases.visible, training, len(item_ids))[:, 0]
    return dict(zip(cases.user_ids.tolist(), item_ids[first - 1].tolist(), strict=True))
