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
PROMPTED_BASELINE = (
    "NIR"  # nothing of it is fitted, and a language model answers: see nir_answers.py
)


def baseline(name: str) -> Baseline:
    """Return the baseline of that name; imports its module."""
    module = importlib.import_module(f"dualrec.baselines.{MODULES[name]}")
    system: Baseline = module.BASELINE
    assert system.name == name
    return system


def chosen_systems(names: Sequence[str]) -> list[str]:
    """Return the fitted systems of a table in the registry's order: ALWAYS and the requested.

    Raises:
        SettingsError: a name is not in the registry.
    """
    unknown = [name for name in names if name not in (*MODULES, PROMPTED_BASELINE, "all")]
    if unknown:
        raise SettingsError(
            f"baselines.systems: there is no {', '.join(unknown)}; "
            f"there are {', '.join(MODULES)}, {PROMPTED_BASELINE}, and all"
        )
    return [name for name in MODULES if name in ALWAYS or name in names or "all" in names]


def is_prompted(names: Sequence[str]) -> bool:
    """Return whether the baseline that prompts a language model is requested."""
    return PROMPTED_BASELINE in names or "all" in names
