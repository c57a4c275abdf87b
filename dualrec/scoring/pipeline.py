"""Requests in, traces out: the sequence model, the prompt, the language model and SBERT, one after
another in actors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.actor import ActorHandle
from ray.data import ActorPoolStrategy

from dualrec.assets.digests import model_digest
from dualrec.assets.nodes import ModelPlace
from dualrec.cluster.replicas import prompt_replicas, rerank_replicas, sequence_replicas
from dualrec.cluster.session import cluster_gpus, largest_node_gib
from dualrec.config.settings import LanguageSettings, SequenceSettings, Settings, version_of
from dualrec.data.catalog import titles_of, with_titles
from dualrec.data.prepare import Prepared
from dualrec.language.artifact import served_model, tuned_name
from dualrec.language.endpoint import generate_at_endpoint
from dualrec.language.generate import generate
from dualrec.language.models import (
    ServedModel,
    check_decoding,
    check_ranking,
    check_room_on_cpus,
    model_fingerprint,
)
from dualrec.language.prompts.texts import prompt_fingerprint
from dualrec.language.rerank import title_embeddings
from dualrec.language.shortlist import grammar_fingerprint
from dualrec.sequence.artifact import WEIGHTS, sequence_name, sequence_version
from dualrec.storage.workspace import Workspace

METHOD = (
    1  # of prompts, answers and traces; raised when the same input gives others (CONTRIBUTING.md)
)


@dataclass(frozen=True)
class Models:
    """All that scoring needs, loaded once by the driver and shared with the actors.

    Attributes:
        embeddings: float32 (N, d) in the object store, unit vectors of the catalog's titles, in its
            order.
    """

    catalog: pa.Table
    sequence_weights: bytes
    language: ServedModel
    encoder: ModelPlace
    embeddings: "ray.ObjectRef[np.ndarray]"

    @cached_property
    def stored(self) -> dict[str, "ray.ObjectRef[Any]"]:
        """The catalog and its embeddings in the object store, once for all actors."""
        return {"catalog": ray.put(self.catalog), "embeddings": self.embeddings}


def scoring_version(data: Prepared, settings: Settings) -> str:
    """The version of what the models write: the same for the same histories, models, prompt and
    decoding."""
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


def load_models(workspace: Workspace, data: Prepared, settings: Settings) -> Models:
    """Load the models that the settings name. Needs a Ray session: the catalog is embedded in a
    task.

    Raises:
        WorkspaceError: the sequence model has not been trained, or the language model not
            fine-tuned as it should be.
        AssetError: the language model or the sentence encoder cannot be had.
        SettingsError: the language model cannot be held to a shortlist, cannot rank items, or fits
            on no node.
    """
    name = sequence_name(data, settings)
    workspace.require(name, "train-sequence")
    check_decoding(settings)
    check_ranking(settings)
    if not settings.language.engine.use_gpu:
        check_room_on_cpus(settings.language.model, largest_node_gib())
    language = resolve_served_model(workspace, data, settings)
    encoder = ModelPlace.named(settings.rerank.model, settings)
    ray.get(_check.options(num_cpus=0.1).remote(language, encoder, settings.language))
    embeddings = title_embeddings(workspace, data, settings)
    return Models(
        data.catalog,
        workspace.read_bytes(f"{workspace.content(name)}/{WEIGHTS}"),
        language,
        encoder,
        embeddings,
    )


def resolve_served_model(workspace: Workspace, data: Prepared, settings: Settings) -> ServedModel:
    """The language model that the settings name, in a precision that suits the machine. Needs a Ray
    session.

    On a GPU vLLM's own "auto" is right; on a CPU it would take what the weights are stored in,
    however slow.

    Raises:
        WorkspaceError: it has not been fine-tuned as it should be.
        SettingsError: it is served at an endpoint, and should be fine-tuned.
    """
    model, engine = served_model(workspace, data, settings), settings.language.engine
    if settings.language.dtype != "auto" or engine.use_gpu:
        return replace(model, dtype=settings.language.dtype)
    return replace(model, dtype=ray.get(_precision.options(num_cpus=engine.cpus).remote()))


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
    asked = prompted(requests, models, settings)
    answered = _answered(asked, models, settings.language, counter)
    return _through(
        answered,
        _TraceActor,
        {"encoder": models.encoder, **models.stored, "settings": settings, "counter": counter},
        rerank_replicas(settings, cluster_gpus()),
        num_cpus=settings.rerank.cpus,
    )  # fmt: skip


def prompted(requests: ray.data.Dataset, models: Models, settings: Settings) -> ray.data.Dataset:
    """Requests with the sequence model's choices and what the engine is given.

    See PromptBuilder, and AnswerLimits, or LabelLimits where items are ranked.
    """
    sequenced = _through(
        requests.repartition(target_num_rows_per_block=settings.language.engine.batch_size),
        _SequenceActor,
        {"weights": ray.put(models.sequence_weights), "settings": settings.sequence,
         "use_gpu": settings.recommend.sequence_use_gpu},
        sequence_replicas(settings, cluster_gpus()),
        num_cpus=settings.recommend.sequence_cpus,
        **({"num_gpus": 0.1} if settings.recommend.sequence_use_gpu else {}),
    )  # fmt: skip
    return _through(
        sequenced,
        _PromptActor,
        {"model": models.language, "settings": settings.language, **models.stored},
        prompt_replicas(settings, cluster_gpus()),
        num_cpus=0.1,
    )  # fmt: skip


def _answered(
    requests: ray.data.Dataset,
    models: Models,
    settings: LanguageSettings,
    counter: ActorHandle | None,
) -> ray.data.Dataset:
    if models.language.place is None:
        return generate_at_endpoint(requests, models.language.preset, settings)
    return generate(requests, models.language, settings, counter)


def _through(
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


@ray.remote
def _precision() -> str:
    from dualrec.language.models import precision_of

    return precision_of("auto", use_gpu=False)


@ray.remote
def _check(language: ServedModel, encoder: ModelPlace, settings: LanguageSettings) -> None:
    """Find out before actors are started that the models can be had, and rank as many items as they
    should."""
    from dualrec.language.candidates import label_tokens
    from dualrec.language.prompts.chat_template import tokenizer_of

    encoder.folder()
    folder = language.place.folder() if language.place else None
    if folder and settings.mode == "rank":
        label_tokens(tokenizer_of(str(folder)), settings.rank_candidates)


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
        if model.place is None:
            self.steps = [MessagesBuilder(settings, titles)]
            return
        build = PromptBuilder(str(model.place.folder()), model.preset, settings, titles)
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
        self.metrics.told(traces)
        if self.counter is not None:
            self.counter.add.remote(len(batch))
        return traces
