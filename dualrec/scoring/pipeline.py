"""Requests in, traces out: the sequence model, the prompt, the language model and SBERT, one after
another in actors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.actor import ActorHandle
from ray.data import ActorPoolStrategy

from dualrec.assets.digests import model_digest
from dualrec.assets.nodes import ModelPlace
from dualrec.cluster.resources import (
    cluster_gpus,
    prompt_replicas,
    rerank_replicas,
    sequence_replicas,
)
from dualrec.config.settings import LanguageSettings, SequenceSettings, Settings, version_of
from dualrec.data.catalog import titles_of, with_titles
from dualrec.data.prepare import Prepared
from dualrec.language.artifact import tuned_name
from dualrec.language.endpoint import generate_at_endpoint
from dualrec.language.generate import generate
from dualrec.language.models import (
    ServedModel,
    model_fingerprint,
)
from dualrec.language.prompts.texts import prompt_fingerprint
from dualrec.language.shortlist import grammar_fingerprint
from dualrec.scoring.models import Models
from dualrec.sequence.artifact import sequence_version

# Of prompts, answers and traces; raised when the same input gives others (CONTRIBUTING.md).
METHOD = 1


def scoring_version(data: Prepared, settings: Settings) -> str:
    """Return the version of the answers: of histories, models, prompt and decoding."""
    language = settings.language
    return version_of(
        METHOD,
        sequence_version(data, settings),
        settings.sequence.top_k,
        language.model_copy(update={"model": ""}),  # its content says which one it is
        tuned_name(data, settings),
        model_fingerprint(settings),
        prompt_fingerprint(language),
        grammar_fingerprint(language),
        model_digest(ModelPlace.named(settings.rerank.model, settings)),
        settings.rerank.fuzzy_threshold,
    )


def score(
    requests: ray.data.Dataset,
    models: Models,
    settings: Settings,
    counter: ActorHandle | None = None,
) -> ray.data.Dataset:
    """A dataset of schema TRACES for requests of schema REQUESTS, in any order. Every request gives
    one trace.

    Args:
        counter: a RowCounter to which finished traces are added.
    """
    prompted_requests = build_prompts(requests, models, settings)
    generated = _generate(prompted_requests, models, settings.language, counter)
    return _map_with_actors(
        generated,
        _TraceActor,
        {"encoder": models.encoder, **models.stored, "settings": settings, "counter": counter},
        rerank_replicas(settings, cluster_gpus()),
        num_cpus=settings.rerank.cpus,
    )


def build_prompts(
    requests: ray.data.Dataset, models: Models, settings: Settings
) -> ray.data.Dataset:
    """Requests with the sequence model's choices and what the engine is given.

    See PromptBuilder, and AnswerLimits, or LabelLimits where items are ranked.
    """
    sequenced = _map_with_actors(
        requests.repartition(target_num_rows_per_block=settings.language.engine.batch_size),
        _SequenceActor,
        {
            "weights": ray.put(models.sequence_weights),
            "settings": settings.sequence,
            "use_gpu": settings.recommend.sequence_use_gpu,
        },
        sequence_replicas(settings, cluster_gpus()),
        num_cpus=settings.recommend.sequence_cpus,
        **({"num_gpus": 0.1} if settings.recommend.sequence_use_gpu else {}),
    )
    return _map_with_actors(
        sequenced,
        _PromptActor,
        {"model": models.language, "settings": settings.language, **models.stored},
        prompt_replicas(settings, cluster_gpus()),
        num_cpus=0.1,
    )


def _generate(
    requests: ray.data.Dataset,
    models: Models,
    settings: LanguageSettings,
    counter: ActorHandle | None,
) -> ray.data.Dataset:
    if models.language.location is None:
        return generate_at_endpoint(requests, models.language.preset, settings)
    return generate(requests, models.language, settings, counter)


def _map_with_actors(
    dataset: ray.data.Dataset,
    actor: type,
    arguments: dict[str, Any],
    replicas: int,
    **resources: float,
) -> ray.data.Dataset:
    return dataset.map_batches(
        actor,
        fn_constructor_kwargs=arguments,
        batch_size=None,  # a block as it comes: nothing waits for others to fill a batch
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=1, max_size=replicas),
        **resources,
    )


class _SequenceActor:
    """Loads torch where the actor runs, not in the driver."""

    def __init__(
        self, weights: "ray.ObjectRef[bytes]", settings: SequenceSettings, use_gpu: bool
    ) -> None:
        from dualrec.sequence.predict import SequencePredictor

        self.predict = SequencePredictor(ray.get(weights), settings, use_gpu)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self.predict(batch)


class _PromptActor:
    def __init__(
        self,
        model: ServedModel,
        settings: LanguageSettings,
        catalog: "ray.ObjectRef[pa.Table]",
        embeddings: "ray.ObjectRef[np.ndarray]",
    ) -> None:
        from dualrec.language.candidates import LabelLimits
        from dualrec.language.endpoint import MessagesBuilder
        from dualrec.language.prompts.chat_template import PromptBuilder
        from dualrec.language.shortlist import AnswerLimits, Shortlister

        table = ray.get(catalog)
        titles = titles_of(table)
        self.steps: list[Callable[[pa.Table], pa.Table]]
        if model.location is None:
            self.steps = [MessagesBuilder(settings, titles)]
            return
        build = PromptBuilder(str(model.location.folder()), model.preset, settings, titles)
        if settings.mode == "rank":
            self.steps = [build, LabelLimits(build.tokenizer, settings.rank_candidates)]
            return
        shortlister = Shortlister(
            with_titles(table, build.titles), ray.get(embeddings), settings.shortlist
        )
        self.steps = [build, AnswerLimits(build.tokenizer, settings, shortlister)]

    def __call__(self, batch: pa.Table) -> pa.Table:
        for step in self.steps:
            batch = step(batch)
        return batch


class _TraceActor:
    def __init__(
        self,
        encoder: ModelPlace,
        catalog: "ray.ObjectRef[pa.Table]",
        embeddings: "ray.ObjectRef[np.ndarray]",
        settings: Settings,
        counter: ActorHandle | None,
    ) -> None:
        from dualrec.cluster.metrics import ScoringMetrics
        from dualrec.language.candidates import CandidateOrder
        from dualrec.language.rerank import Reranker

        self.counter, self.metrics = counter, ScoringMetrics()
        known = (ray.get(catalog), ray.get(embeddings))
        self.read: Callable[[pa.Table], pa.Table]
        if settings.language.mode == "rank":
            self.read = CandidateOrder(*known)
        else:
            self.read = Reranker(
                str(encoder.folder()),
                *known,
                settings.rerank.fuzzy_threshold,
                settings.language.titles,
            )

    def __call__(self, batch: pa.Table) -> pa.Table:
        traces = self.read(batch)
        self.metrics.record(traces)
        if self.counter is not None:
            self.counter.add.remote(len(batch))
        return traces
