"""Scoring speed: the whole path of `recommend` against a bare vLLM engine given the same prompts and limits.

The bare engine is `vllm.LLM`'s own, stepped by hand in one process, without Ray Data, the sequence model, the tying of
titles to items or SBERT. Every side serves the same users with the same engine options, one after the other in one
run. Its rate is that of the users who finish after the first quarter, so that loading and warming up do not count; the
tail does. Also compares decoding from a shortlist with free decoding.

    python scripts/bench_recommend.py --config jobs/configs/local.yaml --users 384 --rounds 3

Needs histories and a sequence model: run `dualrec prepare` and `dualrec train-sequence` with the same settings first.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
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

Finished = list[tuple[float, int]]  # seconds, and the users who finished then


@ray.remote
class BareEngine:
    """A vLLM engine in a process of its own, with nothing around it."""

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        from vllm import LLM

        self.engine = LLM(model=folder, **options).llm_engine

    def finished(self, rows: list[dict[str, Any]], sampling: dict[str, Any]) -> Finished:
        """Answer all rows, and say when each was done."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        for number, row in enumerate(rows):
            held = {"structured_outputs": StructuredOutputsParams(grammar=row["grammar"])} if row["grammar"] else {}
            limits = SamplingParams(**sampling, max_tokens=row["max_tokens"], **held)
            self.engine.add_request(str(number), {"prompt_token_ids": row["tokenized_prompt"]}, limits)
        times = []
        while self.engine.has_unfinished_requests():
            times += [(time.perf_counter(), 1) for output in self.engine.step() if output.finished]
        return times


def bare(requests: ray.data.Dataset, models: Models, settings: Settings) -> Finished:
    """Make the prompts as `recommend` does, then give them all to a bare engine."""
    rows = prompted(requests, models, settings).take_all()
    engine = BareEngine.options(  # type: ignore[attr-defined]
        num_cpus=settings.language.engine.cpus,
        num_gpus=1 if settings.language.engine.use_gpu else 0,
        runtime_env={"env_vars": engine_environment(settings.language)},
    ).remote(str(models.language.folder), engine_options(models.language, settings.language))
    finished: Finished = ray.get(engine.finished.remote(rows, sampling_options(models.language, settings.language)))
    ray.kill(engine)
    return finished


def whole(requests: ray.data.Dataset, models: Models, settings: Settings) -> Finished:
    """The path of `recommend`, and when each block of traces came out of it."""
    blocks: Iterable[pa.Table] = score(requests, models, settings).iter_batches(
        batch_format="pyarrow", batch_size=None, prefetch_batches=0
    )
    return [(time.perf_counter(), len(block)) for block in blocks if len(block)]


def rate(finished: Finished) -> float:
    """Users a second after the first quarter."""
    total, done = sum(users for _, users in finished), 0
    for started, users in finished:
        done += users
        if done >= total / 4:
            return (total - done) / (finished[-1][0] - started)
    raise AssertionError("a quarter of the users is done before all are")


def requests_of(workspace: Workspace, data: Prepared, users: int, decoding: str) -> ray.data.Dataset:
    """Night requests of the first users of all splits."""
    histories = data.read_histories(workspace, "all").limit(users).materialize()
    return histories.map_batches(
        night_requests, fn_kwargs={"decoding": decoding}, batch_format="pyarrow", batch_size=None
    ).materialize()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config")
    parser.add_argument("--set", action="append", dest="overrides")
    parser.add_argument("--users", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("dualrec").setLevel(logging.INFO)
    settings = load_settings(arguments.config, arguments.overrides)
    console, rates = Console(), {"bare vLLM, free": [], "dualrec, free": [], "dualrec, shortlist": []}  # type: ignore[var-annotated]
    with ray_session(settings.cluster):
        workspace = Workspace(settings.workspace)
        data = prepared(workspace, settings)
        models = load_models(workspace, data, settings)
        free, shortlist = (requests_of(workspace, data, arguments.users, one) for one in ("free", "shortlist"))
        for _ in range(arguments.rounds):
            rates["bare vLLM, free"].append(rate(bare(free, models, settings)))
            rates["dualrec, free"].append(rate(whole(free, models, settings)))
            rates["dualrec, shortlist"].append(rate(whole(shortlist, models, settings)))
            console.print({name: round(values[-1], 2) for name, values in rates.items()})
    _show(console, data.dataset, arguments.users, rates)


def _show(console: Console, dataset: str, users: int, rates: dict[str, list[float]]) -> None:
    table = Table(title=f"{dataset}, {users} users, users a second", title_justify="left")
    for column in ("side", "median", "lowest", "highest"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for name, values in rates.items():
        table.add_row(name, *(f"{pick(values):.2f}" for pick in (statistics.median, min, max)))
    console.print(table)
    for over, under in (("dualrec, free", "bare vLLM, free"), ("dualrec, shortlist", "dualrec, free")):
        ratios = [one / other for one, other in zip(rates[over], rates[under], strict=True)]
        console.print(f"{over} / {under}: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
