"""Make up a data set with MovieLens' statistics, of any size, in the files of ML-32M.
docs/results.md says what it holds.

    python scripts/synthesize.py --out ml-32m-made-up
    python scripts/synthesize.py --ratings 1000209 --users 6040 --movies 3706 --out ml-1m-made-up
    dualrec prepare --set data.source=ml-1m-made-up

The same shape and seed give the same bytes on any number of CPUs.
"""

import argparse
import sys
from pathlib import Path

import ray
from rich.console import Console
from synthetic.activity import Shape, check_shape
from synthetic.writing import check_free, write_dataset

from dualrec.cluster.session import ray_session
from dualrec.config.settings import ClusterSettings
from dualrec.errors import DualrecError, InputError

AT_ONCE_PER_CPU = 2  # one in work and one done, so that no CPU waits for the disk


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--ratings", type=int, default=32_000_204, help="in all; the defaults are ML-32M's shape"
    )
    parser.add_argument("--users", type=int, default=200_948)
    parser.add_argument("--movies", type=int, default=87_585)
    parser.add_argument("--heaviest", type=int, help="ratings of one of the users, such as 1000000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, required=True, help="the folder to write, which must not be there yet"
    )
    parser.add_argument("--cpus", type=int, default=0, help="of this machine to use; 0: all")
    return parser.parse_args()


def _synthesize(given: argparse.Namespace, console: Console) -> None:
    shape = Shape(given.ratings, given.users, given.movies, given.heaviest)
    check_shape(shape)
    check_free(given.out)
    if given.seed < 0 or given.cpus < 0:
        raise InputError(
            f"--seed and --cpus should be 0 or more, found {given.seed} and {given.cpus}"
        )
    with ray_session(ClusterSettings(cpus=given.cpus)):
        at_once = AT_ONCE_PER_CPU * int(ray.cluster_resources()["CPU"])
        done = write_dataset(shape, given.seed, given.out, at_once, console.print)
    console.print(
        f"{given.out}: {done.rows:,} ratings in {done.seconds:.0f} s, {done.rows / done.seconds:,.0f} a second; peak memory "
        f"{done.peak_mib[0]:.0f} MiB of this process, {done.peak_mib[1]:.0f} MiB of the largest task"
    )


def main() -> None:
    """Make the data set, or say what is wrong with the arguments."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        _synthesize(_arguments(), console)
    except DualrecError as error:
        console.print(f"error: {error}", markup=False)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
