import pyarrow as pa

from dualrec.evaluation.report import markdown_report, markdown_table, terminal_table
from dualrec.evaluation.systems import measure, well_formed
from dualrec.settings import EvaluationSettings
from tests.test_ranking import trace

SETTINGS = EvaluationSettings(bootstrap_samples=50)


def _measured(catalogue: pa.Table) -> dict:
    """One user who watched 1 and 2, and then 4; free decoding wrote 4, the shortlist's wrote 6 first."""
    free = trace(purpose="next_item", held_out=[4], titles=["D", "Nowhere"], title_item_ids=[4, None],
                 title_matches=["exact", "none"], title_similarities=[0.9, 0.5])  # fmt: skip
    listed = free | {"titles": ["F", "D"], "title_item_ids": [6, 4], "title_matches": ["exact", "exact"]}
    traces = {"shortlist": [listed], "free": [free]}
    return measure(traces, {"shortlist": 0.0, "free": 1.0}, catalogue, "next_item", SETTINGS, 3)


def test_each_decoding_has_rows_of_its_own_and_the_one_in_force_plain_names(catalogue: pa.Table) -> None:
    models = _measured(catalogue)["models"]
    first_hit = {name: metrics["HR@1"]["value"] for name, metrics in models.items()}
    assert first_hit["language model alone"] == 0.0
    assert first_hit["language model alone, free decoding"] == 1.0
    assert first_hit["fused, free decoding"] == 1.0
    assert first_hit["fused"] == first_hit["sequence model alone"] == 0.0
    assert list(models) == [
        "Random", "MostPop", "sequence model alone", "language model alone", "paper", "fused",
        "language model alone, free decoding", "paper, free decoding", "fused, free decoding",
    ]  # fmt: skip


def test_shares_of_titles_stand_with_the_model_that_wrote_them(catalogue: pa.Table) -> None:
    models = _measured(catalogue)["models"]
    assert models["language model alone"]["titles resolved"]["value"] == 1.0
    assert models["sequence model alone"]["titles resolved"]["value"] is None


def test_the_report_shows_every_system_the_published_rows_and_what_was_chosen(catalogue: pa.Table) -> None:
    result = _measured(catalogue)
    fit = {"weight": 0.5, "users": 9, "fused_ndcg_at_10": {"0.5": 0.2}, "language_ndcg_at_10": 0.1}
    validation = {"shortlist": fit, "free": {**fit, "language_ndcg_at_10": 0.3}}
    metrics = {"dataset": "six movies", "decoding": "shortlist", "validation": validation}
    report = markdown_report(metrics | {"protocols": {"next_item": result}})
    for name in (*result["models"], *result["published"]):
        assert f"| {name} |" in report or f"| *{name}* |" in report
    assert "serves validation users best with free decoding" in report
    assert markdown_table(result) in report
    assert terminal_table("next_item", result).row_count == len(result["models"]) + len(result["published"])


def test_a_well_formed_answer_has_all_titles_with_their_years() -> None:
    assert well_formed(["Heat (1995)", "Ran (1985)"], 2)
    assert not well_formed(["Heat (1995)"], 2)
    assert not well_formed(["Heat (1995)", "Ran"], 2)
