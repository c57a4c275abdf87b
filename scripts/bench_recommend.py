"""Scoring speed: the whole path of `recommend` against a bare vLLM engine given the same prompts and limits.

The bare engine is `vllm.LLM`'s own, stepped by hand in one process, without Ray Data, the sequence model, the tying of
titles to items or SBERT. Every side serves the same users with the same engine options, one after the other in one
run: a third of the users first, then all. The rate is that of the difference, so that loading does not count.
Also compares decoding from a shortlist with free decoding, with --shortlist.

    python scripts/bench_recommend.py --config jobs/configs/local.yaml --users 288 --rounds 3 --shortlist

Needs histories and a sequence model: run `dualrec prepare` and `dualrec train-sequence` with the same settings first.
"""

import argparse
import logging
import statistics
import time
from collections import defaultdict
from typing import Any

import ray
import ray.data
from rich.console import Console
from rich.table import Table

from dualrec.data.prepare import Prepared, prepared
from dualrec.language.generate import engine_environment, engine_options, sampling_options
from dualrec.requests import night_requests
from dualrec.scoring import Models, load_models, prompted, score
from dualrec.session import ray_session
from dualrec.settings import Settings, load_settings
from dualrec.workspace import Workspace

BARE, FREE, SHORTLIST = "bare vLLM, free", "dualrec, free", "dualrec, shortlist"


@ray.remote
class BareEngine:
    """A vLLM engine in a process of its own, with nothing around it."""

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        from vllm import LLM

        self.engine = LLM(model=folder, **options).llm_engine

    def seconds(self, rows: list[dict[str, Any]], sampling: dict[str, Any]) -> float:
        """Answer all rows, and say how long it took."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        self.engine.reset_prefix_cache()  # the other side's engine is new each time
        started = time.perf_counter()
        for number, row in enumerate(rows):
            held = {"structured_outputs": StructuredOutputsParams(grammar=row["grammar"])} if row["grammar"] else {}
            limits = SamplingParams(**sampling, max_tokens=row["max_tokens"], **held)
            self.engine.add_request(str(number), {"prompt_token_ids": row["tokenized_prompt"]}, limits)
        while self.engine.has_unfinished_requests():
            self.engine.step()
        return time.perf_counter() - started


def bare(requests: list[ray.data.Dataset], models: Models, settings: Settings) -> list[float]:
    """Make the prompts as `recommend` does, then give them to a bare engine: seconds for each set of requests."""
    rows = [prompted(some, models, settings).take_all() for some in requests]
    engine = BareEngine.options(  # type: ignore[attr-defined]
        num_cpus=settings.language.engine.cpus,
        num_gpus=1 if settings.language.engine.use_gpu else 0,
        runtime_env={"env_vars": engine_environment(settings.language)},
    ).remote(str(models.language.folder), engine_options(models.language, settings.language))
    sampling = sampling_options(models.language, settings.language)
    seconds = [ray.get(engine.seconds.remote(some, sampling)) for some in rows]
    ray.kill(engine)
    return seconds


def whole(requests: list[ray.data.Dataset], models: Models, settings: Settings) -> list[float]:
    """The path of `recommend`: seconds for each set of requests, each with an engine of its own that has to start."""
    seconds = []
    for some in requests:
        started = time.perf_counter()
        score(some, models, settings).materialize()
        seconds.append(time.perf_counter() - started)
    return seconds


def rate(users: int, seconds: list[float]) -> float:
    """Users a second, from the times for a third of the users and for all."""
    return (users - users // 3) / (seconds[1] - seconds[0])


def requests_of(workspace: Workspace, data: Prepared, users: int, decoding: str) -> list[ray.data.Dataset]:
    """Night requests of the first third of the users, and of all; from all splits."""
    histories = (
        data.read_histories(workspace, "all")
        .limit(users)
        .map_batches(night_requests, fn_kwargs={"decoding": decoding}, batch_format="pyarrow", batch_size=None)
        .materialize()
    )
    return [histories.limit(users // 3).materialize(), histories]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config")
    parser.add_argument("--set", action="append", dest="overrides")
    parser.add_argument("--users", type=int, default=288)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shortlist", action="store_true", help="measure decoding from a shortlist too")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("dualrec").setLevel(logging.INFO)
    settings = load_settings(arguments.config, arguments.overrides)
    console, rates = Console(), defaultdict(list)
    with ray_session(settings.cluster):
        workspace = Workspace(settings.workspace)
        data = prepared(workspace, settings)
        models = load_models(workspace, data, settings)
        free, shortlist = (requests_of(workspace, data, arguments.users, one) for one in ("free", "shortlist"))
        for _ in range(arguments.rounds):
            rates[BARE].append(rate(arguments.users, bare(free, models, settings)))
            rates[FREE].append(rate(arguments.users, whole(free, models, settings)))
            if arguments.shortlist:
                rates[SHORTLIST].append(rate(arguments.users, whole(shortlist, models, settings)))
            console.print({name: round(values[-1], 2) for name, values in rates.items()})
    _show(console, data.dataset, arguments.users, rates)


def _show(console: Console, dataset: str, users: int, rates: dict[str, list[float]]) -> None:
    table = Table(title=f"{dataset}, {users} users, users a second", title_justify="left")
    for column in ("side", "median", "lowest", "highest"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for name, values in rates.items():
        table.add_row(name, *(f"{pick(values):.2f}" for pick in (statistics.median, min, max)))
    console.print(table)
    for over, under in ((FREE, BARE), *([(SHORTLIST, FREE)] if SHORTLIST in rates else [])):
        ratios = [one / other for one, other in zip(rates[over], rates[under], strict=True)]
        console.print(f"{over} / {under}: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
