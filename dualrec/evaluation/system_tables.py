"""The tables of the systems themselves: what they cost, how they were set, what was tried. Takes
`systems` and the steps' seconds of metrics.json, and what was chosen on validation users.
"""

from collections.abc import Mapping
from typing import Any

from dualrec.evaluation.system_kinds import Systems, by_kind
from dualrec.evaluation.tables import Cell, Row, RowGroup, Table, written


def cost_table(systems: Systems) -> Table | None:
    """What fitting and scoring take; None where nothing was timed."""
    keys = ("fit_seconds", "scoring_seconds_per_user", "generated_tokens_per_user")
    timed = [name for name, one in systems.items() if any(one.get(key) is not None for key in keys)]
    if not timed:
        return None
    rows = {
        name: Row(
            name,
            (
                Cell(seconds(systems[name].get("fit_seconds"))),
                Cell(_milliseconds(systems[name].get("scoring_seconds_per_user"))),
                Cell(written(systems[name].get("generated_tokens_per_user"), ".1f")),
            ),
        )
        for name in timed
    }
    return Table(
        "Cost",
        "Wall time of one fit with the chosen parameters, of making one user's list with a fitted system, and how many "
        "tokens the language model writes for a user. All on the machine that ran this benchmark; empty where it was not "
        "timed or does not apply.",
        ("system", "one fit", "a user's list (ms)", "tokens a user"),
        _groups(rows, systems),
    )


def chosen_table(systems: Systems) -> Table | None:
    """The parameters in force; None where no system has any."""
    having = [name for name, one in systems.items() if one.get("parameters")]
    if not having:
        return None
    rows = {
        name: Row(
            name,
            (
                Cell(_parameters(systems[name]["parameters"])),
                Cell(str(len(systems[name]["trials"])) if systems[name].get("trials") else ""),
                Cell(systems[name].get("paper") or ""),
            ),
        )
        for name in having
    }
    return Table(
        "Chosen parameters",
        "The settings of each system, and the paper that it is from. Where several choices were tried, these had the best "
        "NDCG@10 on validation users; no test user took part.",
        ("system", "parameters", "tried", "from"),
        _groups(rows, systems),
        words=frozenset({"parameters", "from"}),
    )


def trial_tables(systems: Systems) -> list[Table]:
    """Every choice that was tried, a table a system, the best first."""
    return [_trials(name, one) for name, one in systems.items() if one.get("trials")]


def _trials(name: str, system: Mapping[str, Any]) -> Table:
    ordered = sorted(system["trials"], key=lambda trial: trial["ndcg_at_10"], reverse=True)
    rows = [
        Row(
            str(place),
            (
                Cell(_parameters(trial["parameters"])),
                Cell(
                    written(trial["ndcg_at_10"], ".4f"),
                    best=trial["parameters"] == system.get("parameters"),
                ),
                Cell(seconds(trial.get("seconds"))),
            ),
        )
        for place, trial in enumerate(ordered, start=1)
    ]
    return Table(
        f"{name}: {len(rows)} tried",
        f"Every choice of parameters that was tried for {name}, by its NDCG@10 on validation users under next_item; the "
        "one in force is marked.",
        ("place", "parameters", "NDCG@10, validation", "time"),
        (RowGroup(tuple(rows)),),
        words=frozenset({"parameters"}),
    )


def validation_table(metrics: Mapping[str, Any]) -> Table | None:
    """What the weight of the fused list was chosen by; None where nothing was chosen."""
    fits = metrics.get("validation") or {}
    if not fits:
        return None
    weights = sorted(
        {weight for fit in fits.values() for weight in fit["fused_ndcg_at_10"]}, key=float
    )
    rows = [
        Row(
            variant,
            (
                Cell(f"{fit['users']:,}"),
                Cell(written(fit["language_ndcg_at_10"], ".4f")),
                *(
                    Cell(
                        written(fit["fused_ndcg_at_10"].get(weight), ".4f"),
                        best=float(weight) == fit["weight"],
                    )
                    for weight in weights
                ),
            ),
        )
        for variant, fit in fits.items()
    ]
    best = max(fits, key=lambda variant: float(fits[variant]["language_ndcg_at_10"]))
    notes = [f"Decoding in force: {metrics['decoding']}."]
    if len(fits) > 1:
        notes.append(f"The language model alone does best on validation users under: {best}.")
    return Table(
        "Chosen on validation users",
        "NDCG@10 of validation users: of the language model alone, and of the fused list under each weight of the language "
        "model (0 is the sequence model alone). The weight that the fused list has in every table is marked. A row is "
        "named after the decoding in force, or after what was changed.",
        ("answers", "users", "language model alone", *(f"weight {weight}" for weight in weights)),
        (RowGroup(tuple(rows)),),
        notes=tuple(notes),
    )


def steps_table(metrics: Mapping[str, Any]) -> Table | None:
    """How long each step took; None where that was not kept."""
    steps = metrics.get("seconds") or {}
    if not steps:
        return None
    rows = [Row(name, (Cell(seconds(taken)),)) for name, taken in steps.items()]
    return Table(
        "Time",
        "Wall time of each step of this run, in the order in which they ran.",
        ("step", "time"),
        (RowGroup(tuple(rows)),),
    )


def seconds(value: float | None) -> str:
    """Seconds as one reads them: 0.02 s, 8.3 s, 2 min 5 s, 1 h 12 min."""
    if value is None:
        return ""
    if value < 60:
        return f"{value:.2g} s" if value < 1 else f"{value:.1f} s"
    whole = round(value)
    return (
        f"{whole // 60} min {whole % 60} s"
        if whole < 3600
        else f"{whole // 3600} h {whole % 3600 // 60} min"
    )


def _groups(rows: Mapping[str, Row], systems: Systems) -> tuple[RowGroup, ...]:
    kinds = by_kind(rows, systems)
    return tuple(
        RowGroup(tuple(rows[name] for name in names), kind.title, kind.key) for kind, names in kinds
    )


def _milliseconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.2g}" if value < 0.01 else f"{value * 1000:,.0f}"


def _parameters(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in parameters.items())
