"""The plots of the report, each a figure with its caption and its content in words. Takes parts of
metrics.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dualrec.evaluation.inline_svg import INK, KIND_COLOURS, inline_svg
from dualrec.evaluation.label_places import label_places
from dualrec.evaluation.system_kinds import Systems, by_kind, kind_of
from dualrec.evaluation.tables import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRIC = "NDCG@10"
WIDE, SQUARE, SMALL = 640.0, (420.0, 330.0), (200.0, 130.0)
ROW = 17.0  # pixels that a bar takes
LETTER = 5.3  # pixels, about, of a letter of 8.5
COMPARED = ("ours", "baseline", "guess", "other")  # kinds that stand in plots of cost


@dataclass(frozen=True)
class Plot:
    """A figure.

    Attributes:
        svg: an <svg> element.
    """

    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Bar:
    """A named value, with the bounds of its interval where it has them."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def learning_curves(systems: Systems) -> list[Plot]:
    """A small figure for each system that was trained in epochs: its own curve before those of the
    others."""
    from matplotlib.ticker import MaxNLocator

    found = {name: _curve(one.get("epochs", ())) for name, one in systems.items()}
    curves = {name: curve for name, curve in found.items() if curve[0]}
    highest = max((max(values) for _, values in curves.values()), default=0.0)
    plots = []
    for place, (name, (epochs, values)) in enumerate(curves.items()):
        best = max(range(len(values)), key=values.__getitem__)
        caption = f"best {values[best]:.3f} in epoch {epochs[best]} of {epochs[-1]}"
        description = (
            f"{METRIC} of validation users from {values[0]:.3f} in epoch {epochs[0]}; {caption}."
        )

        def draw(figure: "Figure", name: str = name, best: int = best) -> None:
            axes = figure.subplots()
            for other, curve in curves.items():
                if other != name:
                    axes.plot(*curve, color=KIND_COLOURS["guess"], linewidth=0.6, alpha=0.5)
            axes.plot(*curves[name], color=KIND_COLOURS["ours"], linewidth=2)
            axes.plot(
                [curves[name][0][best]],
                [curves[name][1][best]],
                "o",
                color=KIND_COLOURS["ours"],
                markersize=5,
            )
            axes.set_ylim(0, highest * 1.08 or 1)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(4))

        svg = inline_svg(draw, SMALL, f"curve{place}", f"Learning curve of {name}", description)
        plots.append(Plot(name, caption, svg))
    return plots


def cost_plot(result: Mapping[str, Any], systems: Systems, key: str, words: str) -> Plot | None:
    """Accuracy over a cost of `systems`, in seconds on a logarithmic axis; None where nothing was
    timed."""
    names = [name for name in result["models"] if kind_of(name, systems) in COMPARED]
    values = {name: _figure(result["models"][name].get(METRIC)) for name in names}
    points = {
        name: (float(systems[name][key]), bar)
        for name in names
        if (bar := values[name]) is not None and (systems.get(name, {}).get(key) or 0) > 0
    }
    if not points:
        return None
    missing = [name for name in names if name not in points]
    caption = f"Further up is more accurate, further left is cheaper. Lines are 95 % intervals of {METRIC}."
    if missing:
        caption += f" Not drawn, since no time was measured: {', '.join(missing)}."
    described = "; ".join(
        f"{name} {bar.value:.3f} at {cost:.2g} s" for name, (cost, bar) in points.items()
    )

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
        for name, (cost, bar) in points.items():
            colour = KIND_COLOURS[kind_of(name, systems)]
            if bar.low is not None and bar.high is not None:
                axes.plot([cost, cost], [bar.low, bar.high], color=colour, linewidth=1, alpha=0.5)
            axes.plot([cost], [bar.value], "o", color=colour, markersize=6)
        axes.margins(x=0.12)
        axes.grid(axis="y", alpha=0.5)
        axes.set_xlabel(f"{words} (logarithmic)")
        axes.set_ylabel(METRIC)
        _name_points(
            figure, axes, {name: (cost, bar.value) for name, (cost, bar) in points.items()}
        )

    title = f"{METRIC} against {words}"
    return Plot(title, caption, inline_svg(draw, SQUARE, f"cost-{key}", title, described + "."))


def metric_plot(
    result: Mapping[str, Any],
    systems: Systems,
    metric: str,
    title: str,
    caption: str,
    form: str = ".3f",
) -> Plot | None:
    """A bar a system with its interval; None where the metric was not measured.

    Args:
        form: how values are written.
    """
    found = [(name, _figure(model.get(metric))) for name, model in result["models"].items()]
    bars = [Bar(name, bar.value, bar.low, bar.high) for name, bar in found if bar is not None]
    key = "".join(letter if letter.isalnum() else "-" for letter in metric)
    return _bar_plot(bars, systems, f"bars-{key}", title, caption, metric, form) if bars else None


def ablation_plot(protocol: str, result: Mapping[str, Any], systems: Systems) -> Plot | None:
    """What each ablation changes against the system that it was made from; None where there is
    none."""
    bars = []
    for name, model in result["models"].items():
        ablated = _figure(model.get(METRIC))
        whole = _figure(result["models"].get(whole_of(name), {}).get(METRIC))
        if kind_of(name, systems) == "ablation" and ablated is not None and whole is not None:
            bars.append(Bar(name, ablated.value - whole.value))
    if not bars:
        return None
    caption = (
        f"{METRIC} of each ablation less that of the system that it was made from, whose name it bears before the comma. "
        "Left of 0, what was changed is missed. Differences of means: the accuracy table has the intervals."
    )
    key = "ablations-" + "".join(letter if letter.isalnum() else "-" for letter in protocol)
    title = f"What the parts contribute, under {protocol}"
    return _bar_plot(bars, systems, key, title, caption, f"difference in {METRIC}", "+.3f")


def whole_of(ablation: str) -> str:
    """The system that an ablation was made from: `fused` of `fused, without the hint`."""
    return ablation.partition(", ")[0]


def _bar_plot(
    bars: Sequence[Bar], systems: Systems, key: str, title: str, caption: str, axis: str, form: str
) -> Plot:
    by_name = {bar.name: bar for bar in bars}
    ordered = [by_name[name] for _, names in by_kind(by_name, systems) for name in names]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.set_ylim(len(ordered) - 0.4, -0.6)
        axes.set_yticks(range(len(ordered)), [bar.name for bar in ordered])
        axes.tick_params(axis="y", length=0)
        axes.spines.left.set_visible(False)
        for place, bar in enumerate(ordered):
            _draw_bar(axes, place, bar, KIND_COLOURS[kind_of(bar.name, systems)], form)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.margins(x=0.14)
        axes.set_xlabel(axis)

    described = "; ".join(f"{bar.name} {written(bar.value, form)}" for bar in ordered)
    size = (WIDE, ROW * len(ordered) + 50)
    return Plot(title, caption, inline_svg(draw, size, key, title, described + "."))


def _draw_bar(axes: "Axes", place: int, bar: Bar, colour: str, form: str) -> None:
    axes.barh(place, bar.value, height=0.66, color=colour, alpha=0.8)
    ends = [bar.value, 0.0]
    if bar.low is not None and bar.high is not None:
        axes.plot([bar.low, bar.high], [place, place], color=INK, linewidth=1.2)
        ends += [bar.low, bar.high]
    at, side = (min(ends), -1) if bar.value < 0 else (max(ends), 1)
    axes.annotate(
        written(bar.value, form),
        (at, place),
        (4 * side, 0),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        va="center",
        fontsize=8,
    )


def _name_points(figure: "Figure", axes: "Axes", points: Mapping[str, tuple[float, float]]) -> None:
    figure.draw_without_rendering()  # fixes where the axes lie
    figure.set_layout_engine("none")
    at = [tuple(map(float, axes.transData.transform(point))) for point in points.values()]
    sizes = [(LETTER * len(name), 10.0) for name in points]
    frame = axes.get_window_extent().extents
    places = label_places([(x, y) for x, y in at], sizes, tuple(map(float, frame)))  # type: ignore[arg-type]
    for (name, point), (left, bottom), (x, y), (width, height) in zip(
        points.items(), places, at, sizes, strict=True
    ):
        far = max(left - x, x - left - width, bottom - y, y - bottom - height) > 10
        axes.annotate(
            name,
            point,
            (left + width / 2, bottom + height / 2),
            textcoords="figure pixels",
            ha="center",
            va="center",
            fontsize=8.5,
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": INK, "alpha": 0.5}
            if far
            else None,
        )


def _curve(epochs: Sequence[Mapping[str, float]]) -> tuple[list[int], list[float]]:
    """Epochs and their NDCG@10, where it was measured."""
    measured = [one for one in epochs if one.get("ndcg_at_10") is not None]
    return [int(one["epoch"]) for one in measured], [float(one["ndcg_at_10"]) for one in measured]


def _figure(metric: Mapping[str, float | None] | None) -> Bar | None:
    if metric is None or metric["value"] is None:
        return None
    return Bar("", metric["value"], metric.get("low"), metric.get("high"))
