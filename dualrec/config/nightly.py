"""The nightly job: when models are trained anew, which nights are not published, and what work
costs."""

from typing import Annotated

from pydantic import Field

from dualrec.config.group import Count, Fraction, Group, Seconds

Price = Annotated[float, Field(ge=0)]


class GateSettings(Group):
    """What a night must hold to be published; null switches a gate off."""

    min_users: Fraction | None = 0.9  # of the users of the night before
    max_error_rate: Fraction | None = 0.02  # of scored users, the language model failed on
    min_titles_resolved: Fraction | None = 0.5  # of the titles that it wrote, tied to an item
    min_overlap: Fraction | None = (
        0.05  # of the night before's movies, still in the lists of scored users
    )
    max_metric_drop: Fraction | None = (
        0.2  # of the NDCG@10 on validation users, against the models before
    )


class PriceSettings(Group):
    """Money, in any currency; 0 leaves it out."""

    engine_hour: Price = 0.0  # one engine replica, held for an hour
    worker_hour: Price = 0.0  # any other actor of the scoring, held for an hour
    million_tokens_in: Price = 0.0  # at an endpoint
    million_tokens_out: Price = 0.0


class NightlySettings(Group):
    """What `nightly` does beside scoring."""

    train: bool = (
        False  # True: train and fine-tune on this night's data, however new the models are
    )
    model_days: Count | None = (
        7  # models as old as this are trained anew; null: only where there are none
    )
    lease_seconds: Seconds = 60.0  # a driver without a heartbeat for so long counts as dead
    gates: GateSettings = GateSettings()
    prices: PriceSettings = PriceSettings()
