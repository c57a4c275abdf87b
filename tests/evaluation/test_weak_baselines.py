from dualrec.evaluation.weak_baselines import weak_baselines
from tests.evaluation.benchmark_metrics import benchmark_metrics


def test_a_baseline_whose_interval_meets_that_of_a_guess_is_named_with_its_figures() -> None:
    (sentence,) = weak_baselines(benchmark_metrics())
    assert sentence.startswith(
        "STAMP is not clearly above guessing: NDCG@10 0.110 (0.100–0.120) under next_item, MostPop"
    )
    assert "Random" not in sentence


def test_a_baseline_without_an_interval_is_not_trusted_either() -> None:
    metrics = benchmark_metrics()
    metrics["protocols"]["next_item"]["models"]["SASRec"]["NDCG@10"] |= {"low": None, "high": None}
    assert any(
        sentence.startswith("SASRec") and "Random" in sentence
        for sentence in weak_baselines(metrics)
    )


def test_a_baseline_wholly_above_both_guesses_is_fine_and_so_is_no_next_item() -> None:
    metrics = benchmark_metrics()
    del metrics["protocols"]["next_item"]["models"]["STAMP"]
    assert weak_baselines(metrics) == []
    assert weak_baselines({"protocols": {}}) == []
