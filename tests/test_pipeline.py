"""The job `run` on a small site: the language model is asked everything once, in one pass, and measuring asks it nothing."""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dualrec.data.prepare import prepared
from dualrec.evaluation.evaluate import evaluate
from dualrec.pipeline import run
from dualrec.recommend import recommend
from dualrec.settings import Settings
from dualrec.workspace import Workspace
from tests.fake_endpoint import fake_endpoint
from tests.nightly.site import FIRST, SECOND, Site

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
        run_date, "recommend.split=test", "evaluation.protocols=[next_item, last_five, candidates_20]",
        "evaluation.bootstrap_samples=20", "evaluation.permutations=19", *more,
    )  # fmt: skip


def _users(settings: Settings) -> dict[str, int]:
    workspace = Workspace(settings.workspace)
    users: dict[str, int] = workspace.description(prepared(workspace, settings).histories)["users"]
    return users


def _calibrated(settings: Settings) -> int:
    return min(settings.ranking.calibration_users, _users(settings)["validation"])


def _report(settings: Settings) -> dict[str, Any]:
    (folder,) = Path(settings.workspace, "reports").iterdir()
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def _without(settings: Settings, folder: Path, *names: str) -> Settings:
    """The same in a copy of the workspace that lacks some of its artefacts."""
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
    assert {"language model alone", "paper", "fused"} <= set(again["protocols"]["last_five"]["models"])
    (predictions,) = Path(done.workspace, "predictions").iterdir()
    assert json.loads((predictions / "artefact.json").read_text())["cases"] == 2 * test

    summary = run(_settings(site, SECOND))
    assert len(site.asked()) == test, "the next night scores its users; the cases are answered already"
    assert (
        "prepare, train-sequence, fit-baselines, recommend-and-predict, evaluate; what is there"
        in capsys.readouterr().out
    )
    steps = ("prepare", "train-sequence", "fit-baselines", "recommend", "evaluate")
    assert list(summary.lines) == [f"{name} took" for name in steps]
    assert Path(summary.places["the report, a page for your browser"]).is_file()
    (next_steps,) = summary.tables
    assert next_steps.row_count == 5


def test_evaluate_alone_asks_for_what_is_missing_and_writes_the_same_artefact(
    site: Site, done: Settings, tmp_path: Path
) -> None:
    site.asked()
    alone = _without(done, tmp_path / "workspace", "predictions", "reports")
    site.endpoint.faults = itertools.chain([400] * 4)
    evaluate(alone)
    assert site.asked().total() == 2 * _users(done)["test"], "the weight is known, so validation users are not asked"
    predicted = [{path.name for path in Path(one.workspace, "predictions").iterdir()} for one in (alone, done)]
    assert predicted[0] == predicted[1]


def test_an_endpoint_that_refuses_every_row_still_gives_a_report(site: Site, done: Settings, tmp_path: Path) -> None:
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
    assert len(site.asked()) == test, "the weight that was chosen for measuring serves the fused lists too"
