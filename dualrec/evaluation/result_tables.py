"""The tables of one protocol: accuracy, what a list is beyond it, and what the language model
wrote.

Takes a protocol's part of metrics.json, and `systems` for the kinds of its rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dualrec.evaluation.system_kinds import Systems, by_kind, kind_of
from dualrec.evaluation.tables import Cell, Row, RowGroup, Table, interval_cell, written

Result = Mapping[str, Any]

ACCURACY = (
    "HR@1", "HR@5", "HR@10", "HR@20", "NDCG@5", "NDCG@10", "NDCG@20", "MRR@5", "MRR@10", "MRR@20",
)  # fmt: skip
SIGNIFICANT = 0.05

# What each metric means, and how it is written.
BEYOND = {
    "genre Jaccard": (
        "shared genres over all genres of the first item and the next movie, as the paper has it",
        ".3f",
    ),
    "genre Jaccard, best of 5": ("the same for the closest of the first five", ".3f"),
    "coverage@10": ("the share of the catalog that is in anyone's first ten", ".1%"),
    "novelty@10": (
        "how rare the first ten are: the mean of −log2 of the share of users who watched an item",
        ".2f",
    ),
    "popularity lift@10": (
        "how much more popular the first ten are than the user's own history: 0 is as popular, +1 twice as much",
        "+.2f",
    ),
    "diversity@10": ("the mean genre distance of two of the first ten, from 0 to 1", ".3f"),
}
ANSWERS = {
    "titles resolved": ("the share of written titles that are in the catalog", ".1%"),
    "titles repeated": ("those that the same answer had already", ".1%"),
    "titles already watched": ("those in the user's history", ".1%"),
    "answers well formed": (
        "the share of answers with as many titles as asked for, each with its year",
        ".1%",
    ),
}


def accuracy_table(
    protocol: str, result: Result, systems: Systems, metrics: Sequence[str] = ACCURACY
) -> Table:
    """Accuracy with intervals, the paired differences where metrics.json has them, and what others
    published."""
    models, against = result["models"], result.get("against", {})
    columns = [name for name in metrics if any(name in model for model in models.values())]
    best = {name: _highest(name, models, systems) for name in columns}
    groups = []
    for kind, names in by_kind(models, systems):
        rows = []
        for system in names:
            cells = [
                _accuracy_cell(models[system], name, None if kind.key == "leak" else best[name])
                for name in columns
            ]
            rows.append(Row(system, (*cells, *_compared(system, against, kind.key != "leak"))))
        groups.append(RowGroup(tuple(rows), kind.title, kind.key))
    published = result.get("published", {})
    if published:
        groups.append(_published(published, columns, 2 if against else 0))
    return Table(
        f"Accuracy under {protocol}",
        _accuracy_caption(result, columns),
        ("system", *columns, *_compared_columns(against)),
        tuple(groups),
        notes=tuple(f"{name}: {row['how']}." for name, row in published.items()),
    )


def beyond_table(protocol: str, result: Result, systems: Systems) -> Table | None:
    """What the lists are beyond accuracy; None where nothing of it was measured."""
    caption = (
        f"What the lists are like under {protocol}, {result['users']:,} users. {_meanings(BEYOND, result)} Means, over "
        "their 95 % intervals. More of it is not always better, so nothing is marked: Random leads in coverage and novelty."
    )
    return _plain_table(f"Beyond accuracy under {protocol}", caption, BEYOND, result, systems)


def answers_table(protocol: str, result: Result, systems: Systems) -> Table | None:
    """What became of the titles that language models wrote; None where none did."""
    caption = f"What the language model wrote under {protocol}, with 95 % intervals. {_meanings(ANSWERS, result)}"
    return _plain_table(f"Written titles under {protocol}", caption, ANSWERS, result, systems)


def _plain_table(
    title: str,
    caption: str,
    metrics: Mapping[str, tuple[str, str]],
    result: Result,
    systems: Systems,
) -> Table | None:
    columns = [
        name
        for name in metrics
        if any(_value(model, name) is not None for model in result["models"].values())
    ]
    having = [
        name
        for name, model in result["models"].items()
        if any(_value(model, c) is not None for c in columns)
    ]
    if not having:
        return None
    groups = (
        RowGroup(
            tuple(
                Row(
                    name,
                    tuple(
                        interval_cell(result["models"][name].get(c), metrics[c][1]) for c in columns
                    ),
                )
                for name in names
            ),
            kind.title,
            kind.key,
        )
        for kind, names in by_kind(having, systems)
    )
    return Table(title, caption, ("system", *columns), tuple(groups))


def _meanings(metrics: Mapping[str, tuple[str, str]], result: Result) -> str:
    measured = {name for model in result["models"].values() for name in model}
    text = "; ".join(
        f"{name}: {meaning}" for name, (meaning, _) in metrics.items() if name in measured
    )
    return text[:1].upper() + text[1:] + "."


def _accuracy_caption(result: Result, columns: Sequence[str]) -> str:
    parts = [
        f"{result['users']:,} users. {result.get('description', '')}".strip(),
        "HR@k: the share of users for whom a hidden movie is among the first k of the list. NDCG@k: the same, where a "
        "hit counts for less the lower it stands (1 / log2(place + 1), over the most that could be had).",
    ]
    if any(name.startswith("MRR") for name in columns):
        parts.append(
            "MRR@k: the mean of 1 / place of the first hit, 0 beyond k. At 1 the three are the same."
        )
    parts.append(
        "Higher is better. Each mean stands with its bootstrap 95 % interval over users; the best of a column is"
    )
    parts.append("marked, a leak and published figures apart, since these were measured otherwise.")
    if result.get("against"):
        parts.append(_comparison(result["against"]))
    return " ".join(parts)


def _comparison(against: Mapping[str, Any]) -> str:
    rival, metric = _rival(against)
    return (
        f"Differences in {metric} are paired by user, to {rival}, the best baseline here; p is of a two-sided "
        f"randomisation test, and again after Holm's correction for all comparisons of the table. ▲ is better and ▼ "
        f"worse than {rival} with a corrected p below {SIGNIFICANT}; without a sign, chance may explain it (a leak has none)."
    )


def _rival(against: Mapping[str, Any]) -> tuple[str, str]:
    found = {(one["rival"], one["metric"]) for one in against.values()}
    assert len(found) == 1, f"one table compares with one rival, not with {found}"
    return next(iter(found))


def _compared_columns(against: Mapping[str, Any]) -> tuple[str, ...]:
    if not against:
        return ()
    rival, metric = _rival(against)
    return f"{metric} less that of {rival}", "p, and corrected"


def _compared(system: str, against: Mapping[str, Any], judged: bool) -> tuple[Cell, ...]:
    if not against:
        return ()
    if system not in against:
        return Cell("the rival" if system == _rival(against)[0] else ""), Cell()
    one = against[system]
    cell, adjusted = interval_cell(one["difference"], "+.3f"), one["p_adjusted"]
    if judged and adjusted is not None and adjusted < SIGNIFICANT and one["difference"]["value"]:
        cell = Cell(("▲ " if one["difference"]["value"] > 0 else "▼ ") + cell.text, cell.under)
    return cell, Cell(_probability(one["p"]), _probability(adjusted))


def _probability(p: float | None) -> str:
    return "< 0.001" if p is not None and p < 0.001 else written(p)


def _published(published: Mapping[str, Any], columns: Sequence[str], empty: int) -> RowGroup:
    rows = (
        Row(name, (*(Cell(written(row["values"].get(c))) for c in columns), *[Cell()] * empty))
        for name, row in published.items()
    )
    return RowGroup(
        tuple(rows), "Published by others, who measured otherwise: see below the table", "published"
    )


def _highest(metric: str, models: Mapping[str, Any], systems: Systems) -> float | None:
    values = [
        _value(model, metric) for name, model in models.items() if kind_of(name, systems) != "leak"
    ]
    return max((value for value in values if value), default=None)


def _accuracy_cell(model: Mapping[str, Any], metric: str, best: float | None) -> Cell:
    value = _value(model, metric)
    return interval_cell(model.get(metric), best=value is not None and value == best)


def _value(model: Mapping[str, Any], metric: str) -> float | None:
    figure = model.get(metric)
    return None if figure is None else figure["value"]
