"""A small metrics.json with every kind of row, whose figures are made up."""

from typing import Any


def interval(value: float | None, width: float = 0.01) -> dict[str, float | None]:
    """A figure with its interval; without a value, nothing of it."""
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - width, "high": value + width}


def model(ndcg: float, titles: float | None = None) -> dict[str, Any]:
    """One system's metrics."""
    return {
        "HR@1": interval(ndcg / 2),
        "HR@10": interval(ndcg * 2),
        "NDCG@10": interval(ndcg),
        "genre Jaccard": interval(ndcg + 0.25),
        "popularity lift@10": interval(ndcg - 0.3),
        "coverage@10": {"value": 0.5, "low": None, "high": None},
        "titles resolved": interval(titles),
    }


def against(value: float, adjusted: float) -> dict[str, Any]:
    """A paired difference to SASRec."""
    figures = {"difference": interval(value), "p": adjusted / 4, "p_adjusted": adjusted}
    return {"rival": "SASRec", "metric": "NDCG@10"} | figures


def benchmark_metrics() -> dict[str, Any]:
    """STAMP is no better than MostPop, the leak leads, and one system of ours is an ablation of
    another."""
    fit = {
        "weight": 0.3,
        "users": 9,
        "fused_ndcg_at_10": {"0.0": 0.2, "0.3": 0.25},
        "language_ndcg_at_10": 0.1,
    }
    epochs = [
        {"epoch": epoch, "loss": 1.0 / epoch, "ndcg_at_10": ndcg}
        for epoch, ndcg in ((1, 0.1), (2, 0.2), (3, 0.15))
    ]
    return {
        "dataset": "six movies",
        "settings_hash": "0123abcd",
        "decoding": "shortlist",
        "validation": {"shortlist": fit},
        "commands": ["dualrec benchmark --config six.yaml"],
        "seconds": {"prepare": 125.0},
        "protocols": {
            "next_item": {
                "users": 1234,
                "description": "The last movie is hidden.",
                "models": {
                    "Random": model(0.01),
                    "MostPop": model(0.1),
                    "STAMP": model(0.11),
                    "SASRec": model(0.2),
                    "fused": model(0.25, 0.9),
                    "fused, without the hint": model(0.22, 0.8),
                    "fused, histories shuffled (control)": model(0.05, 0.7),
                    "paper, reranked against the answers (leak)": model(0.6, 0.6),
                },
                "against": {
                    "fused": against(0.05, 0.004),
                    "STAMP": against(-0.09, 0.0004),
                    "MostPop": against(-0.1, 0.2),
                }
                | {"paper, reranked against the answers (leak)": against(0.4, 0.001)},
                "published": {
                    "LSTM (published)": {"how": "at every position", "values": {"HR@1": 0.0344}}
                },
                "counts": {"cold users": 12, "cold items among the hidden": 0.03},
            }
        },
        "systems": {
            "Random": {"kind": "guess", "fit_seconds": 0.0},
            "MostPop": {"kind": "guess", "fit_seconds": 0.5},
            "STAMP": {"kind": "baseline", "fit_seconds": 3.0},
            "SASRec": {
                "kind": "baseline",
                "paper": "Kang and McAuley 2018",
                "parameters": {"learning_rate": 0.001, "blocks": 2},
                "trials": [
                    {
                        "parameters": {"learning_rate": 0.002, "blocks": 1},
                        "ndcg_at_10": 0.1,
                        "seconds": 30.0,
                    },
                    {
                        "parameters": {"learning_rate": 0.001, "blocks": 2},
                        "ndcg_at_10": 0.2,
                        "seconds": 45.0,
                    },
                ],
                "epochs": epochs,
                "fit_seconds": 68.2,
                "scoring_seconds_per_user": 0.0004,
                "generated_tokens_per_user": None,
            },
            "fused": {
                "kind": "ours",
                "epochs": [{"epoch": 1, "loss": 1.0}],
                "fit_seconds": 300.0,
                "scoring_seconds_per_user": 1.2,
                "generated_tokens_per_user": 36.5,
            },
            "fused, without the hint": {"kind": "ablation"},
            "fused, histories shuffled (control)": {"kind": "control"},
            "paper, reranked against the answers (leak)": {"kind": "leak"},
        },
    }
