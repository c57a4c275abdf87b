"""Stage 1, and what any training run takes of the cluster."""

from typing import Annotated

from pydantic import Field

from dualrec.settings.group import Count, Fraction, Group


class TrainingResources(Group):
    """What one training run takes of the cluster. Does not change what is learned, beyond rounding."""

    workers: Count = 1
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    use_gpu: bool = False
    threads: Annotated[int, Field(ge=0)] = 0  # CPU threads a worker; 0 leaves it to torch
    max_failures: Annotated[int, Field(ge=0)] = 3  # dead workers that are replaced before the run gives up


class SequenceSettings(Group):
    """Stage 1: the paper's LSTM over movie ids, titles and genres, and how it is trained."""

    item_dimension: Count = 128
    title_dimension: Count = 64
    genre_dimension: Count = 64
    title_vocabulary: Count = 5000
    title_length: Count = 10  # words
    hidden: tuple[int, int] = (256, 128)
    dense: Count = 256
    dropout: Fraction = 0.3
    tied: bool = False  # score items by the vectors that stand for them in histories, instead of a layer of its own
    # One network for each number: how many of the next movies it is trained to foresee; their probabilities are averaged.
    targets_ahead: Annotated[tuple[Count, ...], Field(min_length=1)] = (1,)
    chunk_length: Count = 100  # movies a training row holds, with a target at each
    batch_size: Count = 32  # chunks over all workers
    learning_rate: Annotated[float, Field(gt=0)] = 0.002
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    epochs: Count = 10
    patience: Count = 3  # epochs without a better validation loss before training stops
    top_k: Count = 100  # items the sequence model hands on for each user
    seed: int = 0
    resources: TrainingResources = TrainingResources()
