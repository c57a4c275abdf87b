"""The report as one page that needs nothing else: no network, no scripts. Takes metrics.json; gives
HTML."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from dualrec.evaluation.plots import Plot, ablation_plot, cost_plot, learning_curves, metric_plot
from dualrec.evaluation.result_tables import accuracy_table, answers_table, beyond_table
from dualrec.evaluation.system_kinds import KINDS, Kind, Systems, kind_of
from dualrec.evaluation.system_tables import (
    chosen_table,
    cost_table,
    steps_table,
    trial_tables,
    validation_table,
)
from dualrec.evaluation.tables import written
from dualrec.evaluation.weak_baselines import weak_baselines

TEMPLATE = "report.html.jinja"
COSTS = {
    "fit_seconds": "seconds of one fit",
    "scoring_seconds_per_user": "seconds for a user's list",
}


def html_report(metrics: Mapping[str, Any]) -> str:
    """The whole page. Every name in it is taken for data and escaped."""
    systems: Systems = metrics.get("systems", {})
    protocols = metrics["protocols"]
    page = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.filters["count"] = _count
    text = files("dualrec.evaluation").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return page.from_string(text).render(
        metrics=metrics,
        kinds=KINDS,
        shown_kinds=_shown(metrics, systems),
        warnings=weak_baselines(metrics),
        accuracy={
            name: accuracy_table(name, result, systems) for name, result in protocols.items()
        },
        beyond=_tables(beyond_table, protocols, systems),
        answers=_tables(answers_table, protocols, systems),
        curves=learning_curves(systems),
        plots=_plots(protocols, systems),
        cost_plots=_cost_plots(protocols, systems),
        cost=cost_table(systems),
        chosen=chosen_table(systems),
        trials=trial_tables(systems),
        validation=validation_table(metrics),
        steps=steps_table(metrics),
    )


def _tables(make: Any, protocols: Mapping[str, Any], systems: Systems) -> list[Any]:
    made = [make(name, result, systems) for name, result in protocols.items()]
    return [table for table in made if table is not None]


def _shown(metrics: Mapping[str, Any], systems: Systems) -> list[Kind]:
    """The kinds that some row is of, for the legend."""
    found = {
        kind_of(name, systems)
        for result in metrics["protocols"].values()
        for name in result["models"]
    }
    return [kind for kind in KINDS if kind.key in found and kind.title]


def _cost_plots(protocols: Mapping[str, Any], systems: Systems) -> list[Plot]:
    result = protocols[_preferred(protocols, "next_item")]
    made = [cost_plot(result, systems, key, words) for key, words in COSTS.items()]
    return [plot for plot in made if plot is not None]


def _plots(protocols: Mapping[str, Any], systems: Systems) -> list[Plot]:
    genres, lift = _preferred(protocols, "last_five"), _preferred(protocols, "next_item")
    made = [
        metric_plot(
            protocols[genres],
            systems,
            "genre Jaccard",
            f"Genre similarity, under {genres}",
            "Shared genres over all genres of the first recommended movie and the movie that was watched next, as in the "
            "paper's Figure 5. Lines are 95 % intervals of the mean over users.",
        ),
        metric_plot(
            protocols[lift],
            systems,
            "popularity lift@10",
            f"Popularity bias, under {lift}",
            "How much more popular the first ten are than the user's own history: 0 is as popular, +1 twice as popular. "
            "Lines are 95 % intervals of the mean over users.",
            "+.2f",
        ),
        *(ablation_plot(name, result, systems) for name, result in protocols.items()),
    ]
    return [plot for plot in made if plot is not None]


def _preferred(protocols: Mapping[str, Any], name: str) -> str:
    return name if name in protocols else next(iter(protocols))


def _count(value: float | int) -> str:
    """A number of things, or a share of them."""
    return f"{value:,}" if isinstance(value, int) else written(value, ".1%")
