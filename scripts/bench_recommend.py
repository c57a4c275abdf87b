"""Scoring speed: the whole path of `recommend` against engines that are given the same prompts and
limits.

One rival is a bare vLLM engine: `vllm.LLM`'s own, stepped by hand in one process, without Ray Data,
the sequence model, the tying of titles to items or SBERT; with the prefix cache, and without. The
other is `transformers.generate`, batch by batch, padded on the left. All sides serve the same users
in one run, one after the other: a quarter of the users first, then all. The rate is that of the
difference, so that loading does not count; transformers, which has nothing to load between, serves
the quarter only, and to make prompts takes so little beside its start that it counts. The time for
four times the users, loading included, is that of our whole path. Also compares decoding from a
shortlist with free decoding, with --shortlist.

    python scripts/bench_recommend.py --config jobs/configs/local.yaml --users 240 --rounds 3
    --shortlist

Needs histories and models: run `dualrec run`, or its jobs until `finetune-language`, with the same
settings first.
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

from dualrec.cluster.session import ray_session
from dualrec.config.settings import Settings, load_settings
from dualrec.data.prepare import Prepared, prepared
from dualrec.data.requests import night_requests
from dualrec.language.generate import engine_environment, engine_options, sampling_options
from dualrec.scoring.models import Models, load_models
from dualrec.scoring.pipeline import build_prompts, score
from dualrec.storage.workspace import Workspace

FREE, SHORTLIST = "dualrec, free", "dualrec, shortlist"
BARE, UNCACHED, TRANSFORMERS = (
    "bare vLLM, free",
    "bare vLLM, free, no prefix cache",
    "transformers, free",
)
PROMPTS = "dualrec, prompts made and no more, start included"
PARTS = 4  # of the users, one of which is served by itself first


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
            held = (
                {"structured_outputs": StructuredOutputsParams(grammar=row["grammar"])}
                if row["grammar"]
                else {}
            )
            limits = SamplingParams(**sampling, max_tokens=row["max_tokens"], **held)
            self.engine.add_request(
                str(number), {"prompt_token_ids": row["tokenized_prompt"]}, limits
            )
        while self.engine.has_unfinished_requests():
            self.engine.step()
        return time.perf_counter() - started


@ray.remote
class BatchedGenerate:
    """`transformers.generate`, a batch after another."""

    def __init__(self, folder: str, precision: str, use_gpu: bool, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if threads:
            torch.set_num_threads(threads)
        self.device = "cuda" if use_gpu else "cpu"
        kind = precision if precision == "auto" else getattr(torch, precision)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=kind).to(self.device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token

    def seconds(self, rows: list[dict[str, Any]], batch_size: int, stop: list[str] | None) -> float:
        """Answer all rows greedily, and say how long it took."""
        ends = {"stop_strings": stop, "tokenizer": self.tokenizer} if stop else {}
        started = time.perf_counter()
        for first in range(0, len(rows), batch_size):
            batch = rows[first : first + batch_size]
            ids = [[int(token) for token in row["tokenized_prompt"]] for row in batch]
            padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.device)
            most = max(int(row["max_tokens"]) for row in batch)
            self.model.generate(
                **padded,
                max_new_tokens=most,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
                **ends,
            )
        return time.perf_counter() - started


def prompts(
    requests: list[ray.data.Dataset], models: Models, settings: Settings
) -> tuple[list[list[dict[str, Any]]], list[float]]:
    """What engines are given for each set of requests, made as `recommend` does, and how long that
    took."""
    rows, seconds = [], []
    for some in requests:
        started = time.perf_counter()
        rows.append(build_prompts(some, models, settings).take_all())
        seconds.append(time.perf_counter() - started)
    return rows, seconds


def bare(
    rows: list[list[dict[str, Any]]], models: Models, settings: Settings, cached: bool
) -> list[float]:
    """Give prompts to a bare engine: seconds for each set of them."""
    options = engine_options(models.language, settings.language) | {"enable_prefix_caching": cached}
    engine = _actor(BareEngine, settings).remote(str(models.language.location.folder()), options)
    sampling = sampling_options(models.language, settings.language)
    seconds = [ray.get(engine.seconds.remote(some, sampling)) for some in rows]
    ray.kill(engine)
    return seconds


def by_transformers(rows: list[dict[str, Any]], models: Models, settings: Settings) -> float:
    """Give prompts to transformers: seconds for all of them."""
    engine = settings.language.engine
    actor = _actor(BatchedGenerate, settings).remote(
        str(models.language.location.folder()),
        models.language.dtype,
        engine.use_gpu,
        engine.threads,
    )
    stop = sampling_options(models.language, settings.language).get("stop")
    seconds = ray.get(actor.seconds.remote(rows, engine.batch_size, stop))
    ray.kill(actor)
    return float(seconds)


def _actor(kind: Any, settings: Settings) -> Any:
    engine = settings.language.engine
    return kind.options(
        num_cpus=engine.cpus,
        num_gpus=1 if engine.use_gpu else 0,
        runtime_env={"env_vars": engine_environment(settings.language)},
    )


def whole(requests: list[ray.data.Dataset], models: Models, settings: Settings) -> list[float]:
    """The path of `recommend`: seconds for each set of requests, each with an engine of its own
    that has to start."""
    seconds = []
    for some in requests:
        started = time.perf_counter()
        score(some, models, settings).materialize()
        seconds.append(time.perf_counter() - started)
    return seconds


def rate(users: int, seconds: list[float]) -> float:
    """Users a second, from the times for a part of the users and for all."""
    return (users - users // PARTS) / (seconds[1] - seconds[0])


def requests_of(
    workspace: Workspace, data: Prepared, users: int, decoding: str
) -> list[ray.data.Dataset]:
    """Night requests of the first part of the users, and of all; from all splits."""
    histories = (
        data.read_histories(workspace, "all")
        .limit(users)
        .map_batches(
            night_requests,
            fn_kwargs={"decoding": decoding},
            batch_format="pyarrow",
            batch_size=None,
        )
        .materialize()
    )
    return [histories.limit(users // PARTS).materialize(), histories]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config")
    parser.add_argument("--set", action="append", dest="overrides")
    parser.add_argument("--users", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--shortlist", action="store_true", help="measure decoding from a shortlist too"
    )
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("dualrec").setLevel(logging.INFO)
    settings = load_settings(arguments.config, arguments.overrides)
    console, rates = Console(), defaultdict(list)
    growth: list[float] = []
    with ray_session(settings.cluster):
        workspace = Workspace.of(settings)
        data = prepared(workspace, settings)
        models = load_models(workspace, data, settings)
        free, shortlist = (
            requests_of(workspace, data, arguments.users, one) for one in ("free", "shortlist")
        )
        for _ in range(arguments.rounds):
            rows, seconds = prompts(free, models, settings)
            rates[PROMPTS].append(arguments.users / seconds[1])
            rates[BARE].append(rate(arguments.users, bare(rows, models, settings, cached=True)))
            seconds = whole(free, models, settings)
            rates[FREE].append(rate(arguments.users, seconds))
            growth.append(seconds[1] / seconds[0])
            rates[UNCACHED].append(
                rate(arguments.users, bare(rows, models, settings, cached=False))
            )
            rates[TRANSFORMERS].append(len(rows[0]) / by_transformers(rows[0], models, settings))
            if arguments.shortlist:
                rates[SHORTLIST].append(rate(arguments.users, whole(shortlist, models, settings)))
            console.print({name: round(values[-1], 2) for name, values in rates.items()})
    _show(console, data.dataset, arguments.users, rates)
    console.print(
        f"time for {PARTS} times the users: {statistics.median(growth):.2f} times ({_range(growth)})"
    )


def _show(console: Console, dataset: str, users: int, rates: dict[str, list[float]]) -> None:
    table = Table(title=f"{dataset}, {users} users, users a second", title_justify="left")
    for column in ("side", "median", "lowest", "highest"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for name, values in rates.items():
        table.add_row(name, *(f"{pick(values):.2f}" for pick in (statistics.median, min, max)))
    console.print(table)
    pairs = [
        (FREE, BARE),
        (FREE, TRANSFORMERS),
        (BARE, UNCACHED),
        *([(SHORTLIST, FREE)] if SHORTLIST in rates else []),
    ]
    for over, under in pairs:
        ratios = [one / other for one, other in zip(rates[over], rates[under], strict=True)]
        console.print(f"{over} / {under}: {statistics.median(ratios):.2f} ({_range(ratios)})")


def _range(values: list[float]) -> str:
    return f"{min(values):.2f}-{max(values):.2f}"


if __name__ == "__main__":
    main()
