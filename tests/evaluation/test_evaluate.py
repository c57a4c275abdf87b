"""The jobs fit-baselines and evaluate on users who follow a rule, without a language model."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dualrec.config.settings import Settings, load_settings
from dualrec.evaluation.evaluate import evaluate
from dualrec.evaluation.fitting import fit_baselines
from dualrec.pipeline.benchmark import benchmark
from tests.conftest import IN_PROCESS, numbered_movies, write_movielens_1m

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(900)]

DAY = 86_400


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Sixty users who watch forty movies in a cycle, one a day, each from another day on."""
    folder = tmp_path_factory.mktemp("evaluate")
    ratings = [
        (user, (user * 7 + step) % 40 + 1, 5, DAY * (user + step))
        for user in range(1, 61)
        for step in range(14)
    ]
    source = write_movielens_1m(folder / "movielens", ratings, numbered_movies(40))
    return load_settings(
        None,
        [
            f"workspace={folder / 'workspace'}", f"data.source={source}", "data.shards=2", "data.top_items=0",
            "sequence.preset=pair", "sequence.hidden=[16,8]", "sequence.dense=16", "sequence.epochs=1", "sequence.batch_size=8", *IN_PROCESS, "rerank.cpus=0.1",
            "baselines.systems=[SKNN, FPMC]", "baselines.trials=2", "baselines.epochs=4", "baselines.resources.cpus=0.5",
            "evaluation.protocols=[next_item, last_five, candidates_20, time_split]", "evaluation.language=false",
            "evaluation.bootstrap_samples=50", "evaluation.permutations=99", "evaluation.time_split_share=0.7",
            "evaluation.sequence_presets=[paper]",
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(settings: Settings, ray_cluster: None) -> Path:
    """The report of the whole comparison."""
    benchmark(settings)
    (folder,) = Path(settings.workspace, "reports").glob("*/attempt-*")
    return folder


def test_every_system_is_measured_under_every_protocol(report: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text())
    assert set(metrics["protocols"]) == {
        "next_item", "last_five", "candidates_20", "time_split", "time_split, cold users"}  # fmt: skip
    for protocol, result in metrics["protocols"].items():
        networks = {"sequence model alone", "sequence model alone, paper network"}
        assert set(result["models"]) == {"Random", "MostPop", "SKNN", "FPMC"} | networks, protocol
        assert result["users"] > 0
        rivals = {one["rival"] for one in result["against"].values()}
        assert len(rivals) == 1 and not rivals & set(result["against"])
    by_rule = metrics["protocols"]["next_item"]["models"]
    assert by_rule["FPMC"]["HR@5"]["value"] > 2 * by_rule["Random"]["HR@5"]["value"] + 0.1
    assert metrics["protocols"]["time_split"]["counts"]["cold users"] > 0
    members = [
        len(metrics["systems"][name]["parameters"]["members"])
        for name in ("sequence model alone", "sequence model alone, paper network")
    ]
    assert members == [2, 1]
    trials = metrics["systems"]["FPMC"]["trials"]
    assert len(trials) == 2 and trials[0]["parameters"] != trials[1]["parameters"]
    assert metrics["systems"]["FPMC"]["ndcg_at_10"] == max(one["ndcg_at_10"] for one in trials)


def test_one_page_and_its_markdown_show_them(report: Path) -> None:
    page, text = ((report / name).read_text() for name in ("report.html", "report.md"))
    for name in ("SKNN", "FPMC", "sequence model alone", "candidates_20"):
        assert name in page and name in text
    assert "http" not in page


def test_the_report_brings_the_settings_that_repeat_it(settings: Settings, report: Path) -> None:
    again = load_settings(str(report / "settings.yaml"))
    assert again == settings
    assert "dualrec benchmark --config settings.yaml" in (report / "report.md").read_text()


def test_the_measured_lists_can_be_measured_again(
    settings: Settings, report: Path, tmp_path: Path
) -> None:
    lists = pa.concat_tables(
        pq.read_table(report / "lists" / f"{name}.parquet") for name in ("next_item", "last_five")
    )
    again = tmp_path / "again.parquet"
    pq.write_table(
        lists.filter(pc.equal(lists.column("system"), "SKNN")).drop_columns(["system"]), again
    )
    changed = settings.model_copy(
        update={
            "evaluation": settings.evaluation.model_copy(update={"lists": {"Again": str(again)}})
        }
    )
    evaluate(changed)
    reports = report.parents[1].glob("*/attempt-*")
    (other,) = (path for path in reports if path != report)
    models = json.loads((other / "metrics.json").read_text())["protocols"]["last_five"]["models"]
    assert {name: one["value"] for name, one in models["Again"].items()} == {
        name: one["value"] for name, one in models["SKNN"].items()
    }


def test_a_second_call_fits_nothing(settings: Settings, report: Path) -> None:
    assert fit_baselines(settings).lines["fitted now"] == 0
