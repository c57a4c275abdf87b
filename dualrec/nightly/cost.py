"""What a night cost: tokens, engine seconds, worker seconds by kind, and money where prices are
set. Knows no Ray."""

from typing import Any

from dualrec.cluster.resources import (
    engine_replicas,
    prompt_replicas,
    rerank_replicas,
    sequence_replicas,
)
from dualrec.config.settings import PriceSettings, Settings

HOUR_S = 3600.0


def replicas(settings: Settings, gpus: float) -> dict[str, int]:
    """How many actors of each kind hold resources while a night is scored, at most."""
    engine = settings.language.engine
    return {
        "sequence": sequence_replicas(settings, gpus),
        "prompt": prompt_replicas(settings, gpus),
        "engine": engine_replicas(engine, gpus) * engine.tensor_parallel,
        "rerank": rerank_replicas(settings, gpus),
    }


def cost_of(
    spent: list[dict[str, Any]],
    tokens_in: int,
    tokens_out: int,
    counts: dict[str, int],
    prices: PriceSettings,
) -> dict[str, Any]:
    """Sum up a run.

    Args:
        spent: of each attempt `scoring_seconds`, how long its actors were held; `engine_seconds`,
            how long of it requests
            were in the engines; and `answered`, how many came out of them. What a killed attempt
            spent since its last sign of life is missing.
        counts: `replicas`.

    Returns:
        `tokens_in`, `tokens_out`, of the answers that are used; `engine_seconds` (over all
        replicas) and `answered`, also those that were lost with a killed attempt; `worker_seconds`
        by kind: held, whether busy or not; `attempts`;
        `money`, null where no price is set.
    """
    held = sum(one.get("scoring_seconds", 0.0) for one in spent)
    busy = sum(one.get("engine_seconds", 0.0) for one in spent)
    worker_seconds = {kind: round(held * count, 1) for kind, count in counts.items()}
    return {
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "engine_seconds": round(busy * counts["engine"], 1),
        "worker_seconds": worker_seconds,
        "answered": sum(one.get("answered", 0) for one in spent),
        "attempts": len(spent),
        "money": _money(worker_seconds, tokens_in, tokens_out, prices),
    }


def _money(
    worker_seconds: dict[str, float], tokens_in: int, tokens_out: int, prices: PriceSettings
) -> dict[str, float] | None:
    if not any(prices.model_dump().values()):
        return None
    others = sum(seconds for kind, seconds in worker_seconds.items() if kind != "engine")
    parts = {
        "engines": worker_seconds["engine"] / HOUR_S * prices.engine_hour,
        "workers": others / HOUR_S * prices.worker_hour,
        "tokens": (tokens_in * prices.million_tokens_in + tokens_out * prices.million_tokens_out)
        / 1e6,
    }
    return {
        **{name: round(value, 4) for name, value in parts.items()},
        "total": round(sum(parts.values()), 4),
    }
