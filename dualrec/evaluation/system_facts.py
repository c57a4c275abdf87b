"""What each measured system is: its kind, its paper, what was chosen for it and what it cost, as
metrics.json holds it."""

import json
from collections.abc import Iterable
from typing import Any

from dualrec.baselines import nir
from dualrec.baselines.registry import ALWAYS
from dualrec.config.settings import Settings, VariantSettings
from dualrec.data.prepare import Prepared
from dualrec.evaluation.answer_leak import LEAK
from dualrec.evaluation.answers import Answers
from dualrec.evaluation.fitting import baseline_name
from dualrec.evaluation.language_systems import IN_FORCE, LanguageAnswers
from dualrec.evaluation.scorers import SEQUENCE, sequence_models
from dualrec.sequence.artifact import METRICS, sequence_name
from dualrec.storage.workspace import Workspace

PAPER = "Li and Grasman 2025, DUALRec, RecSys"


def facts_of_scorers(
    workspace: Workspace, data: Prepared, settings: Settings, answers: dict[str, dict[str, Answers]]
) -> dict[str, dict[str, Any]]:
    """Of the baselines, as their artifacts tell, and of the sequence model."""
    facts: dict[str, dict[str, Any]] = {}
    networks = sequence_models(settings)
    for name, by_protocol in answers.items():
        if name in networks:
            kind = "ours" if name == SEQUENCE else "ablation"
            facts[name] = {"kind": kind, **_of_sequence_model(workspace, data, networks[name])}
        else:
            made = workspace.description(baseline_name(name, data, settings))
            kept = ("paper", "parameters", "trials", "epochs", "fit_seconds", "ndcg_at_10")
            facts[name] = {
                "kind": "guess" if name in ALWAYS else "baseline",
                **{key: made[key] for key in kept},
            }
        facts[name] |= {"scoring_seconds_per_user": _mean_seconds(by_protocol.values())}
    return facts


def facts_of_language(
    found: LanguageAnswers, variant: VariantSettings, settings: Settings
) -> dict[str, dict[str, Any]]:
    """Of the systems of one variant."""
    facts: dict[str, dict[str, Any]] = {}
    for system, by_protocol in found.answers.items():
        kind = "ours" if variant is IN_FORCE else "control" if variant.shuffled else "ablation"
        facts[system] = {
            "kind": "leak" if system == LEAK else kind,
            "paper": PAPER,
            "parameters": {"language.model": settings.language.model, **variant.set},
            "trials": [],
            "epochs": [],
            "fit_seconds": None,
            "scoring_seconds_per_user": _mean_seconds(by_protocol.values()),
            "generated_tokens_per_user": found.tokens_per_user,
        }
    return facts


def facts_of_nir(settings: Settings, answers: dict[str, Answers]) -> dict[str, Any]:
    """Of the baseline that prompts the language model as it comes."""
    parameters = {"language.model": settings.language.model, "candidates": nir.CANDIDATES_PER_USER}
    facts = {
        "kind": "baseline",
        "paper": nir.REFERENCE,
        "parameters": parameters,
        "trials": [],
        "epochs": [],
    }
    return {
        **facts,
        "fit_seconds": None,
        "scoring_seconds_per_user": _mean_seconds(answers.values()),
    }


def facts_of_lists(path: str) -> dict[str, Any]:
    """Of another system, of which the lists alone are known."""
    facts = {
        "kind": "baseline",
        "paper": f"lists of {path}",
        "parameters": {},
        "trials": [],
        "epochs": [],
    }
    return {**facts, "fit_seconds": None, "scoring_seconds_per_user": None}


def _of_sequence_model(workspace: Workspace, data: Prepared, settings: Settings) -> dict[str, Any]:
    epochs = json.loads(
        workspace.read_bytes(f"{workspace.content(sequence_name(data, settings))}/{METRICS}")
    )["epochs"]
    return {
        "paper": PAPER,
        "parameters": settings.sequence.model_dump(mode="json", exclude={"resources", "top_k"}),
        "trials": [],
        "epochs": [
            {"epoch": epoch["epoch"], "loss": epoch["train_loss"]}
            | (
                {"ndcg_at_10": epoch["validation_ndcg_at_10"]}
                if "validation_ndcg_at_10" in epoch
                else {}
            )
            for epoch in epochs
        ],
        "fit_seconds": sum(epoch["seconds"] for epoch in epochs),
    }


def _mean_seconds(answers: Iterable[Answers]) -> float | None:
    seconds = [one.seconds_per_user for one in answers if one.seconds_per_user is not None]
    return sum(seconds) / len(seconds) if seconds else None
