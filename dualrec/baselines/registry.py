"""The baselines by name. Knows names only: what a baseline is made of is imported in the worker
that fits it."""

import importlib
from collections.abc import Sequence

from dualrec.baselines.baseline import Baseline
from dualrec.errors import SettingsError

MODULES = {
    "Random": "random_items",
    "MostPop": "most_popular",
    "SKNN": "sknn",
    "SLIM": "slim",
    "FPMC": "fpmc",
    "NARM": "narm",
    "STAMP": "stamp",
    "GCE-GNN": "gce_gnn",
    "MCPRN": "mcprn",
    "HIDE": "hide",
    "Atten-Mixer": "atten_mixer",
    "UniSRec": "unisrec",
    "SASRec": "sasrec",
}
ALWAYS = ("Random", "MostPop")
PROMPTED = "NIR"  # nothing of it is fitted, and a language model answers: see nir_answers.py


def baseline(name: str) -> Baseline:
    """The baseline of that name; imports what it needs."""
    module = importlib.import_module(f"dualrec.baselines.{MODULES[name]}")
    found: Baseline = module.BASELINE
    assert found.name == name
    return found


def chosen_systems(names: Sequence[str]) -> list[str]:
    """The fitted systems of a table: those that stand in every one, and those asked for, in the
    order of the registry.

    Raises:
        SettingsError: there is no system of a name.
    """
    unknown = [name for name in names if name not in (*MODULES, PROMPTED, "all")]
    if unknown:
        raise SettingsError(
            f"baselines.systems: there is no {', '.join(unknown)}; there are {', '.join(MODULES)}, {PROMPTED}, and all"
        )
    return [name for name in MODULES if name in ALWAYS or name in names or "all" in names]


def is_prompted(names: Sequence[str]) -> bool:
    """Whether the baseline that prompts a language model is asked for."""
    return PROMPTED in names or "all" in names
