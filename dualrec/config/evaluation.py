"""What `evaluate` measures, and what the systems beside ours may spend."""

from typing import Annotated, Any, Literal

from pydantic import Field

from dualrec.config.group import Count, Fraction, Group


class VariantSettings(Group):
    """Our own system with something changed, measured beside it: an ablation, or a control."""

    name: Annotated[str, Field(min_length=1)]  # stands behind the system's name in every table
    set: dict[str, Any] = Field(
        default_factory=dict
    )  # settings by their dotted names, such as language.hint: false
    fused: bool = (
        False  # also the fused list, whose weight takes the answers for validation users too
    )
    shuffled: bool = (
        False  # each user gets another user's history: what the models know without one
    )


class EvaluationSettings(Group):
    """What `evaluate` measures."""

    protocols: tuple[Literal["last_five", "next_item", "candidates_20", "time_split"], ...] = (
        "last_five",
        "next_item",
    )
    language: bool = True  # False measures what needs no language model
    # Each asks a language model anew, with an engine of its own; the profiles of `benchmark` name
    # many.
    variants: tuple[VariantSettings, ...] = ()
    sequence_presets: tuple[
        Literal["improved", "pair", "paper"], ...
    ] = ()  # networks measured beside the configured one
    variant_protocols: tuple[Literal["last_five", "next_item"], ...] = ("last_five", "next_item")
    lists: dict[str, str] = Field(
        default_factory=dict
    )  # other systems' lists: a name and a Parquet file (see evaluation/lists.py)
    candidate_seeds: Count = 5
    time_split_share: Fraction = 0.9  # of all interactions; later ones are hidden under time_split
    bootstrap_samples: Count = 1000
    permutations: Count = 10_000  # of the paired tests
    max_users: Annotated[int, Field(ge=0)] = (
        0  # a seeded sample of the users of each protocol; 0 takes all
    )
    seed: int = 0


class FitResources(Group):
    """What one fit of a baseline takes of the cluster. Does not change what is learned, beyond
    rounding."""

    cpus: Annotated[float, Field(gt=0)] = 1
    threads: Count = 1
    max_failures: Annotated[int, Field(ge=0)] = (
        3  # dead workers that are replaced before a fit gives up
    )


class BaselineSettings(Group):
    """The systems that dualrec is compared with, and the budget that is equal for all of them."""

    systems: tuple[
        str, ...
    ] = ()  # their names, such as SASRec, or "all"; Random and MostPop always stand beside
    # choices of parameters that are tried: the published default, then seeded draws from the ranges
    trials: Count = 4
    epochs: Count = 30
    # The last movies of each validation user that are predicted: with one alone, chance would
    # choose among a few hundred.
    validation_places: Count = 10
    patience: Count = 3  # epochs without a better NDCG@10 of validation users before a fit stops
    prefixes_per_epoch: Count = (
        20_000  # cut histories an epoch, for networks that learn from whole histories only
    )
    seed: int = 0
    resources: FitResources = FitResources()
