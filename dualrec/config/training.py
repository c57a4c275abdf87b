"""Stage 1, the resources of any training run, and the server that shows its curves."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dualrec.config.group import Count, Fraction, Group


class TrainingResources(Group):
    """Resources of one training run. They change no result beyond rounding."""

    # Ray Train's worker processes; 0 trains in the job's own process, which starts sooner by a
    # quarter of a minute a run and suits one machine without a GPU.
    workers: Annotated[int, Field(ge=0)] = 1
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    use_gpu: bool = False
    threads: Annotated[int, Field(ge=0)] = 0  # CPU threads a worker; 0 leaves it to torch
    max_failures: Annotated[int, Field(ge=0)] = (
        3  # dead workers that are replaced before the run gives up
    )

    @model_validator(mode="after")
    def _gpus_are_the_workers(self) -> "TrainingResources":
        if self.use_gpu and self.workers == 0:
            raise ValueError(
                "use_gpu needs workers: GPUs are given to Ray Train's workers, so set workers to 1 "
                "or more"
            )
        return self


class SequenceResources(TrainingResources):
    """What the sequence model's training takes besides."""

    # Fuses what is computed of a piece's logits (torch.compile): pays on GPUs and needs a C++
    # compiler on CPUs.
    compile: bool = False


class MemberSettings(Group):
    """One network of the sequence model."""

    # scores items by the vectors that stand for them in histories, instead of a layer of its own
    tied: bool = False
    ahead: Count = 1  # number of next movies it is trained to predict


# What sets each preset apart from the defaults, which are those of `improved`: networks that differ
# err differently, and those that look further ahead know what is watched soon, if not next. `paper`
# is Li and Grasman's (2025).
PRESETS: dict[str, dict[str, Any]] = {
    "improved": {},
    "pair": {"members": (MemberSettings(), MemberSettings(tied=True, ahead=5))},
    "paper": {
        "members": (MemberSettings(),),
        "dropout": 0.3,
        "weight_decay": 0.0,
        "schedule": "constant",
    },
}


class SequenceSettings(Group):
    """Stage 1: LSTMs over movie ids, titles and genres, whose probabilities are averaged, and how
    they are trained.

    A setting goes before the preset's.
    """

    preset: Literal["improved", "pair", "paper"] = "improved"
    item_dimension: Count = 128
    title_dimension: Count = 64
    genre_dimension: Count = 64
    title_vocabulary: Count = 5000
    title_length: Count = 10  # words
    hidden: tuple[int, int] = (256, 128)
    dense: Count = 256
    dropout: Fraction = 0.3
    members: Annotated[tuple[MemberSettings, ...], Field(min_length=1)] = tuple(
        MemberSettings(tied=tied, ahead=ahead) for ahead in (1, 5) for tied in (False, True)
    )
    chunk_length: Count = 100  # movies a training row holds, with a target at each
    batch_size: Count = (
        32  # chunks over all workers, on average: more where they are short, by like lengths
    )
    learning_rate: Annotated[float, Field(gt=0)] = 0.002
    schedule: Literal["constant", "cosine"] = (
        "cosine"  # the learning rate from epoch to epoch; cosine falls towards 0
    )
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    # Items drawn for each batch, among which its targets are to be found; 0: among all, which is
    # exact. A sample pays from some ten thousand items on (docs/large-catalogs.md).
    negatives: Annotated[int, Field(ge=0)] = 0
    negatives_power: Fraction = (
        0.75  # of an item's popularity, by which it is drawn: 0 uniformly, 1 as it is watched
    )
    dtype: Literal["bfloat16", "float32"] = (
        "float32"  # of the arithmetic in training; bfloat16 for GPUs
    )
    epochs: Count = 10
    # About so many validation users, by whose loss among all items epochs are judged; 0: all of
    # them.
    validation_users: Annotated[int, Field(ge=0)] = 5000
    patience: Count = 3  # epochs without a better validation loss before training stops
    top_k: Count = 100  # items the sequence model hands on for each user
    seed: int = 0
    resources: SequenceResources = SequenceResources()

    @property
    def future_targets(self) -> tuple[int, ...]:
        """Return the number of next movies each member is trained to predict."""
        return tuple(member.ahead for member in self.members)

    @model_validator(mode="after")
    def _of_preset(self) -> "SequenceSettings":
        own = PRESETS[self.preset]
        # Past the frozen group's guard: these are to count as not set, so that another preset takes
        # them back.
        self.__dict__.update(
            {key: value for key, value in own.items() if key not in self.model_fields_set}
        )
        return self


class TrackingSettings(Group):
    """An MLflow server; its keys, where it requires any, are in MLFLOW_TRACKING_USERNAME and
    _PASSWORD, or _TOKEN."""

    mlflow_uri: str | None = None  # as https://mlflow.example; None: none
    experiment: str = "dualrec"  # its runs are named after their artifacts

    @field_validator("mlflow_uri")
    @classmethod
    def _holds_no_key(cls, uri: str | None) -> str | None:
        if uri and "@" in uri:
            raise ValueError(
                "a user name or password in an address would reach logs; give them as "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri
