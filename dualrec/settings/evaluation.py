"""What `evaluate` measures, and what the systems beside ours may spend."""

from typing import Annotated, Literal

from pydantic import Field

from dualrec.settings.group import Count, Group


class EvaluationSettings(Group):
    """What `evaluate` measures."""

    protocols: tuple[Literal["last_five", "next_item"], ...] = ("last_five", "next_item")
    decodings: tuple[Literal["free", "shortlist"], ...] = ("free", "shortlist")  # beside that of `language.decoding`
    bootstrap_samples: Count = 1000
    max_users: Annotated[int, Field(ge=0)] = 0  # a seeded sample of the test users; 0 takes all
    seed: int = 0


class FitResources(Group):
    """What one fit of a baseline takes of the cluster. Does not change what is learned, beyond rounding."""

    cpus: Annotated[float, Field(gt=0)] = 1
    threads: Count = 1
    max_failures: Annotated[int, Field(ge=0)] = 3  # dead workers that are replaced before a fit gives up


class BaselineSettings(Group):
    """The systems that dualrec is compared with: which, and the budget that each of them has alike."""

    systems: tuple[str, ...] = ()  # their rows' names, such as SASRec; Random and MostPop always stand beside
    trials: Count = 4  # choices of parameters that are tried: the published default, then seeded draws from the ranges
    epochs: Count = 30
    patience: Count = 3  # epochs without a better NDCG@10 of validation users before a fit stops
    prefixes_per_epoch: Count = 20_000  # cut histories an epoch, for networks that learn from whole histories only
    seed: int = 0
    resources: FitResources = FitResources()
