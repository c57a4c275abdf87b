"""Stages 2 and 3: the language model, its engine, its fine-tuning, and the encoder that reranks."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dualrec.config.group import Count, Fraction, Group, Seconds, VariableName
from dualrec.config.training import TrainingResources


class EngineSettings(Group):
    """What the vLLM replicas take of the cluster, and how they are fed. Does not change what is
    written."""

    # At most so many, as there is work; 0: as many as the GPUs of the cluster hold, and one on
    # CPUs.
    replicas: Annotated[int, Field(ge=0)] = 0
    cpus: Annotated[float, Field(gt=0)] = (
        0.3  # a replica; what all actors take must leave one CPU for tasks
    )
    threads: Annotated[int, Field(ge=0)] = (
        0  # CPU threads a replica computes with; 0 takes every core but one
    )
    use_gpu: bool = False
    tensor_parallel: Count = 1
    kv_cache_gib: Count = 1  # on CPUs, where it would otherwise take much of the memory
    gpu_memory_fraction: Fraction = 0.90
    enforce_eager: bool = (
        False  # True skips compilation: starts minutes sooner, runs slower on GPUs
    )
    # Users that go through all models together, and into a file: small batches, many at once. A
    # large one has a long tail, and a killed run answers anew what was on its way.
    batch_size: Count = 32
    concurrent_batches: Count = 8
    max_sequences: Count = 128  # in the engine at once


class ShortlistSettings(Group):
    """Which titles the engine may write for a user, where decoding is `shortlist`."""

    sequence_items: Annotated[int, Field(ge=1, le=800)] = (
        100  # the sequence model's best unwatched ones
    )
    neighbours: Annotated[int, Field(ge=0, le=200)] = (
        20  # those whose titles are closest to the history's
    )
    history_length: Count = 10  # most recent movies whose neighbours are looked for


class EndpointSettings(Group):
    """The OpenAI-compatible endpoint of models that are served behind one. Its key comes from the
    environment only."""

    url: Annotated[str, Field(pattern=r"^https?://[^@?\s]+$")] = "https://openrouter.ai/api/v1"
    model: str | None = None  # the model's name there; None: that of the preset
    # The environment variable that holds the key; None for an endpoint without keys.
    api_key_env: VariableName | None = "OPENROUTER_API_KEY"
    requests_per_second: Annotated[float, Field(gt=0)] = 10.0
    retries: Annotated[int, Field(ge=0)] = (
        5  # of a request, after 429, 5xx, a lost connection or a time-out
    )
    timeout_s: Seconds = 60.0  # of a request
    connect_timeout_s: Seconds = (
        10.0  # of the look, before the first request, whether anybody answers
    )
    backoff_s: Seconds = (
        1.0  # before the first retry, at most; twice as long before each further one
    )
    longest_wait_s: Seconds = 60.0  # before any retry, even where the endpoint requires more
    max_total_tokens: Annotated[int, Field(ge=0)] = 10_000_000  # a job's, in and out; 0: no cap


class LanguageSettings(Group):
    """Stage 2: the language model, its prompt and its decoding."""

    model: str = (
        "smollm2-135m"  # a name of language/models.py, a local folder, or an s3:// URI of one
    )
    # None: the model as it comes; "current": what finetune-language makes of it with these
    # settings; or a version of it.
    tuned: str | None = None
    # generate: it writes titles, as published; rank: it orders the sequence model's first items, by
    # one token a user.
    mode: Literal["generate", "rank"] = "generate"
    rank_candidates: Annotated[int, Field(ge=2, le=26)] = (
        20  # items that are ranked, each under a letter of its own
    )
    prompt: Literal["titles", "paper"] = (
        "titles"  # titles: the answer is titles only; paper: as published
    )
    history_length: Count = 10  # most recent movies that the prompt shows
    history_order: Literal["oldest_first", "newest_first"] = "oldest_first"
    # Whether the prompt holds the sequence model's suggestion; where items are ranked, whether it
    # says that their order is that model's, which it is in any case.
    hint: bool = True
    titles: Annotated[int, Field(ge=1, le=7)] = 3  # titles requested
    # free: any text, as published; shortlist: titles of a shortlist. Without a meaning where items
    # are ranked.
    decoding: Literal["free", "shortlist"] = "free"
    shortlist: ShortlistSettings = ShortlistSettings()
    # Of the weights while they write; auto: bfloat16 where the machine computes in it, else
    # float32.
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    max_prompt_tokens: Count = 512  # older movies are left out until the prompt fits
    max_new_tokens: Count = 64  # where decoding is free; a shortlist's titles set their own limit
    temperature: Annotated[float, Field(ge=0)] = (
        0.0  # of what is written; likelihoods of ranked items know none
    )
    seed: int = 0
    engine: EngineSettings = EngineSettings()
    endpoint: EndpointSettings = EndpointSettings()

    @model_validator(mode="after")
    def _the_published_prompt_asks_for_titles(self) -> "LanguageSettings":
        if self.mode == "rank" and self.prompt == "paper":
            raise ValueError(
                "prompt=paper asks for titles, as published: with mode=rank, set prompt=titles"
            )
        return self


class FinetuneSettings(Group):
    """Stage 2: how the language model learns the answer's form, the titles and the taste, by LoRA
    under DeepSpeed."""

    # Several cuts a user give several examples of each history; published: one a user, from its
    # last five movies.
    examples: Literal["cuts", "published"] = "cuts"
    examples_per_user: Count = 4  # cuts of a history; more repeat nearly the same prompts
    max_examples: Annotated[int, Field(ge=0)] = 0  # a seeded sample of that many; 0 takes all
    validation_examples: Count = (
        200  # a seeded sample, one a validation user; enough to tell epochs apart
    )
    lora_rank: Count = 8  # as published, like the next two
    lora_alpha: Annotated[float, Field(gt=0)] = 16.0
    # The layers that are adapted; None: those of the model's preset, the attention projections, as
    # published.
    target_modules: tuple[str, ...] | None = None
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    max_tokens: Count = (
        512  # prompt and answer together, as published; older movies are left out until they fit
    )
    loss: Literal["answer", "all"] = (
        "answer"  # all: on the prompt's tokens too, as published; half is boilerplate
    )
    epochs: Count = 3  # as published
    learning_rate: Annotated[float, Field(gt=0)] = (
        5e-4  # the peak; adapters bear more than whole models
    )
    warmup_fraction: Fraction = 0.05  # of all steps, rising; then a cosine falls to nothing
    weight_decay: Annotated[float, Field(ge=0)] = 0.0  # so few weights need none
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0  # norm over all adapter weights
    batch_size: Count = (
        16  # examples a step over all workers: small, so that few examples still give many steps
    )
    accumulation: Count = (
        1  # parts that a worker's share of a step is computed in; more take less memory
    )
    zero_stage: Literal[2, 3] = (
        2  # 3 also splits the frozen weights: for models that one device cannot hold
    )
    cpu_offload: bool = (
        False  # keep the optimizer's state, and at stage 3 the weights, in the host's memory
    )
    gradient_checkpointing: bool = False  # a third more time for a fraction of the memory
    dtype: Literal["auto", "bfloat16", "float32"] = (
        "auto"  # of the frozen weights and the arithmetic; as above
    )
    seed: int = 0
    resources: TrainingResources = TrainingResources()

    @model_validator(mode="after")
    def _a_step_divides_evenly(self) -> "FinetuneSettings":
        parts = max(self.resources.workers, 1) * self.accumulation
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of resources.workers x "
                f"accumulation ({parts})"
            )
        return self


class RerankSettings(Group):
    """Stage 3: the sentence encoder that compares generated titles with the sequence model's first
    choice."""

    model: str = "all-minilm-l6-v2"
    replicas: Annotated[int, Field(ge=0)] = 0  # at most; 0: one for each engine
    cpus: Annotated[float, Field(gt=0)] = 0.2
    fuzzy_threshold: Annotated[float, Field(ge=0, le=100)] = (
        90.0  # rapidfuzz ratio from which a title counts as found
    )
