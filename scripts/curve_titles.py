"""How well the language model writes titles, over the number of examples that it was fine-tuned on.

For each number, fine-tunes as `dualrec finetune-language` does (a model that is there is taken) and
lets it answer validation users, their last five movies hidden, by free decoding and from their
shortlists. Prints the share of answers with all titles well formed, of titles that exist in the
catalog and that were watched already, and HR@5 of the language model alone, with bootstrap 95 %
intervals; draws the curve.

    python scripts/curve_titles.py --config jobs/configs/local.yaml --examples 0 320 1280 --users
    200 --picture curve.png

Needs histories and a sequence model: run `dualrec prepare` and `dualrec train-sequence` with the
same settings first.
"""

import argparse
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from dualrec.cluster.progress import log_progress
from dualrec.cluster.session import ray_session
from dualrec.config.settings import Settings, load_settings
from dualrec.data.prepare import prepared
from dualrec.data.requests import cut_requests
from dualrec.evaluation.answers import numbers_of_lists
from dualrec.evaluation.comparison import as_interval, intervals
from dualrec.evaluation.metrics import LENGTH, ItemFacts, item_facts, user_metrics
from dualrec.evaluation.title_shares import title_shares
from dualrec.language.finetune import finetune_language
from dualrec.ranking.lists import language_list
from dualrec.scoring.models import load_models
from dualrec.scoring.pipeline import score
from dualrec.storage.schemas import TRACES, conform
from dualrec.storage.workspace import Workspace

SHARES = ("answers well formed", "titles resolved", "titles already watched", "HR@1", "HR@5")
DECODINGS = ("free", "shortlist")

Measured = dict[str, dict[str, dict[str, float | None]]]  # decoding, metric, value and its bounds


def measured(settings: Settings, users: int) -> Measured:
    """Let the model of these settings answer validation users, in both decodings."""
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    models = load_models(workspace, data, settings)
    histories = data.read_histories(workspace, "validation").limit(users).materialize()
    parts = [
        histories.map_batches(
            partial(cut_requests, protocol="last_five", purpose="curve", decoding=decoding),
            batch_format="pyarrow",
            batch_size=None,
        )
        for decoding in DECODINGS
    ]
    requests = parts[0].union(*parts[1:])
    with log_progress(requests.count(), "requests") as counter:
        blocks = score(requests, models, settings, counter).iter_batches(
            batch_format="pyarrow", batch_size=None
        )
        table = conform(pa.concat_tables(block for block in blocks if len(block)), TRACES, "traces")
    rows = table.sort_by("user_id").to_pylist()
    item_ids = models.catalog.column("item_id").to_numpy()
    facts = item_facts(models.catalog, workspace.description(data.histories)["users"]["train"])
    return {
        name: _figures([row for row in rows if row["decoding"] == name], item_ids, facts, settings)
        for name in DECODINGS
    }


def _figures(
    traces: list[dict[str, Any]], item_ids: np.ndarray, facts: ItemFacts, settings: Settings
) -> dict[str, dict[str, float | None]]:
    lists = numbers_of_lists(
        [[one.item_id for one in language_list(row, LENGTH)] for row in traces], item_ids
    )
    truth, visible = (
        [np.searchsorted(item_ids, row[name]) + 1 for row in traces]
        for name in ("held_out", "item_ids")
    )
    metrics = user_metrics(lists, truth, visible, facts) | title_shares(
        traces, settings.language.titles
    )
    evaluation = settings.evaluation
    bounds = intervals(
        np.stack([metrics[name] for name in SHARES], axis=1),
        evaluation.bootstrap_samples,
        evaluation.seed,
    )
    return {name: as_interval(row) for name, row in zip(SHARES, bounds, strict=True)}


def draw(results: dict[int, Measured], path: Path) -> None:
    """The shares over the number of examples."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharex=True)
    numbers = list(results)
    for axis, names, decodings in (
        (axes[0], SHARES[:3], ("free",)),
        (axes[1], SHARES[4:], DECODINGS),
    ):
        for name in names:
            for decoding in decodings:
                points = [results[number][decoding][name] for number in numbers]
                low, high = (
                    [point["value"] - point["low"] for point in points],
                    [point["high"] - point["value"] for point in points],
                )
                axis.errorbar(
                    numbers,
                    [point["value"] for point in points],
                    (low, high),
                    marker="o",
                    capsize=3,
                    label=f"{name}, {decoding}",
                )
        axis.set_xscale(
            "symlog", linthresh=min((number for number in numbers if number), default=1)
        )
        axis.set_xticks(numbers, [f"{number:,}" for number in numbers])
        axis.set_xlabel("training examples")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Fine-tune, measure, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config")
    parser.add_argument("--set", action="append", dest="overrides")
    parser.add_argument(
        "--examples", type=int, nargs="+", default=[0, 320, 1280], help="0: the model as it comes"
    )
    parser.add_argument("--users", type=int, default=200, help="validation users at most")
    parser.add_argument("--picture", type=Path, default=Path("curve.png"))
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("dualrec").setLevel(logging.INFO)
    console, results = Console(width=120), {}
    for number in arguments.examples:
        tuning = (
            [f"finetune.max_examples={number}", "language.tuned=current"]
            if number
            else ["language.tuned=null"]
        )
        settings = load_settings(
            arguments.config, [*(arguments.overrides or []), *tuning, "language.decoding=free"]
        )
        with ray_session(settings.cluster):
            if number:
                finetune_language(settings).show(console)
            results[number] = measured(settings, arguments.users)
        console.print(_table({number: results[number]}))
    results = dict(sorted(results.items()))
    console.print(_table(results))
    draw(results, arguments.picture)


def _table(results: dict[int, Measured]) -> Table:
    table = Table(title="language model alone, validation users, last_five", title_justify="left")
    for column in ("examples", "decoding", *SHARES):
        table.add_column(column, justify="left" if column == "decoding" else "right")
    for number, decodings in results.items():
        for decoding, metrics in decodings.items():
            cells = (
                "{value:.3f} ({low:.3f}-{high:.3f})".format(**metrics[name]) for name in SHARES
            )
            table.add_row(f"{number:,}", decoding, *cells)
    return table


if __name__ == "__main__":
    main()
