from typing import Any
from xml.etree import ElementTree

import pytest

from dualrec.evaluation.inline_svg import INK, KIND_COLOURS, inline_svg
from dualrec.evaluation.plots import (
    Plot,
    ablation_plot,
    cost_plot,
    learning_curves,
    metric_plot,
    whole_of,
)
from tests.evaluation.benchmark_metrics import benchmark_metrics

METRICS = benchmark_metrics()
RESULT, SYSTEMS = METRICS["protocols"]["next_item"], METRICS["systems"]


def _texts(plot: Plot | None) -> list[str]:
    assert plot is not None
    return [
        "".join(element.itertext()) for element in ElementTree.fromstring(plot.svg).iter("text")
    ]


def _description(plot: Plot | None) -> str:
    assert plot is not None
    return ElementTree.fromstring(plot.svg).findtext("desc") or ""


def test_a_learning_curve_tells_its_best_epoch_and_stands_only_for_what_has_epochs() -> None:
    (plot,) = learning_curves(SYSTEMS)
    assert (plot.title, plot.caption) == ("SASRec", "best 0.200 in epoch 2 of 3")


def test_cost_is_drawn_for_what_was_timed_and_the_others_are_named() -> None:
    plot = cost_plot(RESULT, SYSTEMS, "scoring_seconds_per_user", "seconds")
    assert {"SASRec", "fused"} <= set(_texts(plot))
    assert plot is not None and plot.caption.endswith(
        "no time was measured: Random, MostPop, STAMP."
    )
    assert "SASRec 0.200 at 0.0004 s" in _description(plot)
    assert cost_plot(RESULT, {}, "scoring_seconds_per_user", "seconds") is None


def test_a_logarithmic_axis_has_plain_numbers() -> None:
    texts = _texts(cost_plot(RESULT, SYSTEMS, "fit_seconds", "seconds"))
    assert {"1", "10", "100"} <= set(texts)
    assert not any("math" in text for text in texts)


def test_bars_show_every_system_with_its_value_by_kind() -> None:
    plot = metric_plot(RESULT, SYSTEMS, "genre Jaccard", "Genres", "")
    texts = _texts(plot)
    assert {*RESULT["models"], "0.500", "0.350"} <= set(texts)
    assert (
        texts.index("fused")
        < texts.index("SASRec")
        < texts.index("MostPop")
        < texts.index("fused, without the hint")
    )
    assert metric_plot(RESULT, SYSTEMS, "diversity@10", "", "") is None


def test_an_ablation_is_compared_with_the_system_that_it_was_made_from() -> None:
    assert (
        _description(ablation_plot("next_item", RESULT, SYSTEMS))
        == "fused, without the hint −0.030."
    )
    assert whole_of("language model alone, without the hint") == "language model alone"
    assert ablation_plot("next_item", RESULT, {}) is None


@pytest.fixture
def figure_with_a_name() -> str:
    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], "o", color=KIND_COLOURS["ours"])
        axes.set_title("<b>$x & $y")

    return inline_svg(draw, (200, 100), "mine", "a <title>", "a & b")


def test_a_figure_has_ids_of_its_own_and_the_colours_of_the_page(figure_with_a_name: str) -> None:
    root = ElementTree.fromstring(figure_with_a_name)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert ids and all(str(one).startswith("mine-") for one in ids)
    references = [
        value for element in root.iter() for name, value in element.items() if name == "href"
    ]
    assert references and all(value[1:] in ids for value in references)
    assert "currentColor" in figure_with_a_name and "var(--ours)" in figure_with_a_name
    assert INK not in figure_with_a_name and KIND_COLOURS["ours"] not in figure_with_a_name


def test_a_figure_asks_for_nothing_from_outside_and_is_told_in_words(
    figure_with_a_name: str,
) -> None:
    root = ElementTree.fromstring(figure_with_a_name)
    assert (
        "http" not in figure_with_a_name
        and root.find(".//metadata") is None
        and root.find(".//style") is None
    )
    assert (root.get("role"), root.findtext("title"), root.findtext("desc")) == (
        "img",
        "a <title>",
        "a & b",
    )
    assert root.get("aria-labelledby") == "mine-title mine-description"


def test_a_name_in_a_figure_is_neither_markup_nor_mathematics(figure_with_a_name: str) -> None:
    assert "<b>" not in figure_with_a_name
    assert "<b>$x & $y" in [
        element.text for element in ElementTree.fromstring(figure_with_a_name).iter("text")
    ]


def test_the_same_figure_is_the_same_text() -> None:
    one, other = (metric_plot(RESULT, SYSTEMS, "genre Jaccard", "Genres", "") for _ in range(2))
    assert one == other
