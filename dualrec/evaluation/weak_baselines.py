"""Baselines that a reader should not trust: those not clearly above guessing. Takes metrics.json;
gives sentences."""

from collections.abc import Mapping
from typing import Any

from dualrec.evaluation.system_kinds import kind_of

PROTOCOL = "next_item"
METRIC = "NDCG@10"


def weak_baselines(metrics: Mapping[str, Any]) -> list[str]:
    """A sentence for every trained baseline whose interval is not wholly above those of Random and
    MostPop."""
    models = metrics["protocols"].get(PROTOCOL, {}).get("models", {})
    systems = metrics.get("systems", {})
    guesses = [name for name in models if kind_of(name, systems) == "guess"]
    sentences = []
    for name in (name for name in models if kind_of(name, systems) == "baseline"):
        over = [guess for guess in guesses if not _above(models[name], models[guess])]
        if over:
            beside = " and ".join(f"{guess} {_figure(models[guess])}" for guess in over)
            sentences.append(
                f"{name} is not clearly above guessing: {METRIC} {_figure(models[name])} under {PROTOCOL}, {beside}. "
                "Distrust this row, and any gain over it."
            )
    return sentences


def _above(model: Mapping[str, Any], guess: Mapping[str, Any]) -> bool:
    low, high = model.get(METRIC, {}).get("low"), guess.get(METRIC, {}).get("high")
    return low is not None and high is not None and low > high


def _figure(model: Mapping[str, Any]) -> str:
    one = model.get(METRIC, {})
    if one.get("value") is None:
        return "not measured"
    if one.get("low") is None or one.get("high") is None:
        return f"{one['value']:.3f} without an interval"
    return f"{one['value']:.3f} ({one['low']:.3f}–{one['high']:.3f})"
