"""Every option of every job: one frozen tree, read from YAML, with `--set a.b=c` over it. Unknown keys are refused.

Knows nothing of Ray, files or models. Each default is what serves best on one ordinary machine; the profiles in
jobs/configs say what changes on a cluster.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dualrec.errors import SettingsError
from dualrec.overrides import explained, lay_over, read_yaml

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Group(BaseModel):
    """One branch of the tree: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Columns(Group):
    """The names of the columns in a user's own interaction and item tables."""

    user_id: str = "user_id"
    item_id: str = "item_id"
    timestamp: str = "timestamp"
    rating: str | None = None  # None: every interaction counts as 1.0
    title: str = "title"
    year: str | None = None  # None: read from the end of the title, "Heat (1995)"
    genres: str | None = "genres"  # a list, or names joined by "|"


class DataSettings(Group):
    """What `prepare` reads and keeps."""

    source: str = "ml-100k"  # a data set's name, or a folder, a zip, a table, or an s3:// URI of one
    items: str | None = None  # the item table, where `source` is a Parquet or CSV table of the user's own
    columns: Columns = Columns()
    top_items: Annotated[int, Field(ge=0)] = 1000  # keep the most watched items of training users; 0 keeps all
    train_fraction: Fraction = 0.70  # of users, by a seeded hash of the id, so that a user keeps its split
    validation_fraction: Fraction = 0.15  # the rest are test users
    shards: Count = 4  # Parquet files a table is written to
    block_mib: Count = 16  # raw bytes a reading task parses at a time
    seed: int = 0

    @model_validator(mode="after")
    def _fractions_leave_test_users(self) -> "DataSettings":
        if self.train_fraction + self.validation_fraction > 1:
            raise ValueError("train_fraction and validation_fraction together exceed 1")
        return self


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
    chunk_length: Count = 100  # movies a training row holds, with a target at each
    batch_size: Count = 32  # chunks over all workers
    learning_rate: Annotated[float, Field(gt=0)] = 0.002
    epochs: Count = 10
    patience: Count = 3  # epochs without a better validation loss before training stops
    top_k: Count = 100  # items the sequence model hands on for each user
    seed: int = 0
    resources: TrainingResources = TrainingResources()


class EngineSettings(Group):
    """What the vLLM replicas take of the cluster, and how they are fed. Does not change what is written."""

    replicas: Count = 1
    cpus: Annotated[float, Field(gt=0)] = 0.3  # a replica; what all actors take must leave one CPU for tasks
    threads: Annotated[int, Field(ge=0)] = 0  # CPU threads a replica computes with; 0 takes every core but one
    use_gpu: bool = False
    tensor_parallel: Count = 1
    kv_cache_gib: Count = 1  # on CPUs, where it would otherwise take much of the memory
    gpu_memory_fraction: Fraction = 0.90
    enforce_eager: bool = False  # True skips compilation: starts minutes sooner, runs slower on GPUs
    batch_size: Count = 32  # small batches, many at once: a large one has a long tail
    concurrent_batches: Count = 8
    max_sequences: Count = 128  # in the engine at once


class ShortlistSettings(Group):
    """Which titles the engine may write for a user, where decoding is `shortlist`."""

    sequence_items: Annotated[int, Field(ge=1, le=800)] = 100  # the sequence model's best unwatched ones
    neighbours: Annotated[int, Field(ge=0, le=200)] = 20  # those whose titles are closest to the history's
    history_length: Count = 10  # most recent movies whose neighbours are looked for


class EndpointSettings(Group):
    """The OpenAI-compatible endpoint of models that are served behind one. Its key comes from the environment only."""

    url: Annotated[str, Field(pattern=r"^https?://[^@?\s]+$")] = "https://openrouter.ai/api/v1"
    model: str | None = None  # the model's name there; None: that of the preset
    # The environment variable that holds the key; None for an endpoint without keys.
    api_key_env: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] | None = "OPENROUTER_API_KEY"
    requests_per_second: Annotated[float, Field(gt=0)] = 10.0
    retries: Annotated[int, Field(ge=0)] = 5  # of a request, after 429, 5xx, a lost connection or a time-out
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    max_total_tokens: Annotated[int, Field(ge=0)] = 10_000_000  # a job's, in and out; 0: no cap


class LanguageSettings(Group):
    """Stage 2: the language model, its prompt and its decoding."""

    model: str = "smollm2-135m"  # a name of language/models.py, a local folder, or an s3:// URI of one
    # None: the model as it comes; "current": what finetune-language makes of it with these settings; or a version of it.
    tuned: str | None = None
    serve: Literal["merged", "adapter"] = (
        "merged"  # adapter: LoRA at request time, slower, on one base for many adapters
    )
    prompt: Literal["titles", "paper"] = "titles"  # titles: the answer is titles only; paper: as published
    history_length: Count = 10  # most recent movies that the prompt shows
    titles: Annotated[int, Field(ge=1, le=7)] = 3  # titles asked for
    decoding: Literal["free", "shortlist"] = "free"  # free: any text, as published; shortlist: titles of a shortlist
    shortlist: ShortlistSettings = ShortlistSettings()
    # Of the weights while they write; auto: bfloat16 where the machine computes in it, else float32.
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    max_prompt_tokens: Count = 512  # older movies are left out until the prompt fits
    max_new_tokens: Count = 64  # where decoding is free; a shortlist's titles set their own limit
    temperature: Annotated[float, Field(ge=0)] = 0.0
    seed: int = 0
    engine: EngineSettings = EngineSettings()
    endpoint: EndpointSettings = EndpointSettings()


class FinetuneSettings(Group):
    """Stage 2: how the language model learns the answer's form, the titles and the taste, by LoRA under DeepSpeed."""

    # Several cuts a user give several examples of each history; published: one a user, from its last five movies.
    examples: Literal["cuts", "published"] = "cuts"
    examples_per_user: Count = 4  # cuts of a history; more repeat nearly the same prompts
    max_examples: Annotated[int, Field(ge=0)] = 0  # a seeded sample of that many; 0 takes all
    validation_examples: Count = 200  # a seeded sample, one a validation user; enough to tell epochs apart
    lora_rank: Count = 8  # as published, like the next two
    lora_alpha: Annotated[float, Field(gt=0)] = 16.0
    # The layers that are adapted; None: those of the model's preset, the attention projections, as published.
    target_modules: tuple[str, ...] | None = None
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    max_tokens: Count = 512  # prompt and answer together, as published; older movies are left out until they fit
    loss: Literal["answer", "all"] = "answer"  # all: on the prompt's tokens too, as published; half is boilerplate
    epochs: Count = 3  # as published
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4  # the peak; adapters bear more than whole models
    warmup_fraction: Fraction = 0.05  # of all steps, rising; then a cosine falls to nothing
    weight_decay: Annotated[float, Field(ge=0)] = 0.0  # so few weights need none
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0  # norm over all adapter weights
    batch_size: Count = 16  # examples a step over all workers: small, so that few examples still give many steps
    accumulation: Count = 1  # parts that a worker's share of a step is computed in; more take less memory
    zero_stage: Literal[2, 3] = 2  # 3 also splits the frozen weights: for models that one device cannot hold
    cpu_offload: bool = False  # keep the optimizer's state, and at stage 3 the weights, in the host's memory
    gradient_checkpointing: bool = False  # a third more time for a fraction of the memory
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"  # of the frozen weights and the arithmetic; as above
    seed: int = 0
    resources: TrainingResources = TrainingResources()

    @model_validator(mode="after")
    def _a_step_divides_evenly(self) -> "FinetuneSettings":
        parts = self.resources.workers * self.accumulation
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of resources.workers x accumulation ({parts})"
            )
        return self


class RerankSettings(Group):
    """Stage 3: the sentence encoder that compares generated titles with the sequence model's first choice."""

    model: str = "all-minilm-l6-v2"
    replicas: Count = 1
    cpus: Annotated[float, Field(gt=0)] = 0.2
    fuzzy_threshold: Annotated[float, Field(ge=0, le=100)] = 90.0  # rapidfuzz ratio from which a title counts as found


class RankingSettings(Group):
    """The final list."""

    preset: Literal["fused", "paper"] = "fused"  # paper: the generated titles, reranked; fused: both models' items
    length: Annotated[int, Field(ge=1, le=100)] = 10
    calibration_users: Count = 500  # validation users on whom the weight of the fused list is chosen
    seed: int = 0


class RecommendSettings(Group):
    """Whom `recommend` serves, and as what."""

    split: Literal["train", "validation", "test", "all"] = "test"
    run_date: str | None = None  # YYYY-MM-DD; None: today, UTC
    batch_size: Count = 64  # users a block holds on its way through the models
    sequence_replicas: Count = 1
    sequence_cpus: Annotated[float, Field(gt=0)] = 0.2
    sequence_use_gpu: bool = False


class EvaluationSettings(Group):
    """What `evaluate` measures."""

    protocols: tuple[Literal["last_five", "next_item"], ...] = ("last_five", "next_item")
    decodings: tuple[Literal["free", "shortlist"], ...] = ("free", "shortlist")  # beside that of `language.decoding`
    bootstrap_samples: Count = 1000
    max_users: Annotated[int, Field(ge=0)] = 0  # a seeded sample of the test users; 0 takes all
    seed: int = 0


class ClusterSettings(Group):
    """Which Ray cluster the jobs run on."""

    address: str | None = None  # None: the cluster of RAY_ADDRESS (set by `ray job submit`), else one of its own
    cpus: Annotated[int, Field(ge=0)] = 0  # of a cluster of its own; 0: all there are


class Settings(Group):
    """The whole tree."""

    workspace: str = "./workspace"
    cache: str = "~/.cache/dualrec"  # downloaded data sets and models
    data: DataSettings = DataSettings()
    sequence: SequenceSettings = SequenceSettings()
    language: LanguageSettings = LanguageSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    rerank: RerankSettings = RerankSettings()
    ranking: RankingSettings = RankingSettings()
    recommend: RecommendSettings = RecommendSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    cluster: ClusterSettings = ClusterSettings()


def load_settings(config: str | None = None, overrides: list[str] | None = None) -> Settings:
    """Read the tree from a YAML file and lay `a.b=c` overrides over it; the value is read as YAML.

    Raises:
        SettingsError: the file is missing or no YAML mapping, a key is unknown, or a value is not allowed.
    """
    tree = read_yaml(Path(config)) if config else {}
    for override in overrides or []:
        lay_over(tree, override)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(explained(error, Settings, config)) from error


def version_of(*parts: object) -> str:
    """A short name for a set of inputs and settings: 12 hexadecimal digits that change when any of them does.

    `resources` and `engine` groups are left out: they say where work runs, not what comes out.
    """
    plain = [
        _without_resources(part.model_dump(mode="json")) if isinstance(part, BaseModel) else part for part in parts
    ]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _without_resources(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_resources(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if key not in ("resources", "engine", "replicas", "cpus", "shards", "block_mib")
        and key not in ("api_key_env", "requests_per_second", "retries", "timeout_s")
    }
