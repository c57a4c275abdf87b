"""Requests in, traces out: the sequence model, the prompt, the language model and SBERT, one after another in actors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy

from dualrec.assets.fetch import resolve_model
from dualrec.data.prepare import Prepared
from dualrec.language.generate import generate
from dualrec.language.models import LanguageModel, language_model
from dualrec.sequence.artefact import WEIGHTS, sequence_name, sequence_version
from dualrec.settings import SequenceSettings, Settings, version_of
from dualrec.workspace import Workspace


@dataclass(frozen=True)
class Models:
    """All that scoring needs, loaded once by the driver and shared with the actors.

    Attributes:
        embeddings: float32 (N, d), unit vectors of the catalogue's titles, in its order.
    """

    catalogue: pa.Table
    sequence_weights: bytes
    language_preset: LanguageModel
    language_folder: Path
    encoder_folder: Path
    embeddings: np.ndarray


def scoring_version(data: Prepared, settings: Settings) -> str:
    """The version of what the models write: the same for the same histories, models, prompt and decoding."""
    return version_of(
        sequence_version(data, settings), settings.sequence.top_k, settings.language, settings.rerank.model,
        settings.rerank.fuzzy_threshold,
    )  # fmt: skip


def load_models(workspace: Workspace, data: Prepared, settings: Settings) -> Models:
    """Load the models that the settings name. Needs a Ray session: the catalogue is embedded in a task.

    Raises:
        WorkspaceError: the sequence model has not been trained.
        AssetError: the language model or the sentence encoder cannot be had.
    """
    name = sequence_name(data, settings)
    workspace.require(name, "train-sequence")
    preset, language_folder = language_model(settings.language.model, settings.cache)
    encoder_folder = resolve_model(settings.rerank.model, settings.cache)
    titles = data.catalogue.column("title").to_pylist()
    embeddings = ray.get(_embed.options(num_cpus=settings.rerank.cpus).remote(str(encoder_folder), titles))
    return Models(
        data.catalogue,
        workspace.read_bytes(f"{name}/{WEIGHTS}"),
        preset,
        language_folder,
        encoder_folder,
        embeddings,
    )


def score(requests: ray.data.Dataset, models: Models, settings: Settings) -> ray.data.Dataset:
    """A dataset of schema TRACES for requests of schema REQUESTS, in any order. Every request gives one trace."""
    sequenced = _through(
        requests.repartition(target_num_rows_per_block=settings.recommend.batch_size),
        _SequenceActor,
        {"weights": ray.put(models.sequence_weights), "settings": settings.sequence,
         "use_gpu": settings.recommend.sequence_use_gpu},
        settings.recommend.batch_size,
        settings.recommend.sequence_replicas,
        num_cpus=settings.recommend.sequence_cpus,
        **({"num_gpus": 0.1} if settings.recommend.sequence_use_gpu else {}),
    )  # fmt: skip
    titles = dict(zip(*(models.catalogue.column(name).to_pylist() for name in ("item_id", "title")), strict=True))
    prompted = _through(
        sequenced,
        _PromptActor,
        {"folder": str(models.language_folder), "preset": models.language_preset, "settings": settings.language,
         "titles": ray.put(titles)},
        settings.recommend.batch_size,
        1,
        num_cpus=0.1,
    )  # fmt: skip
    answered = generate(prompted, models.language_folder, models.language_preset, settings.language)
    return _through(
        answered,
        _RerankActor,
        {"folder": str(models.encoder_folder), "catalogue": ray.put(models.catalogue),
         "embeddings": ray.put(models.embeddings), "fuzzy_threshold": settings.rerank.fuzzy_threshold,
         "titles": settings.language.titles},
        settings.recommend.batch_size,
        settings.rerank.replicas,
        num_cpus=settings.rerank.cpus,
    )  # fmt: skip


def _through(
    dataset: ray.data.Dataset,
    actor: type,
    arguments: dict[str, Any],
    batch_size: int,
    replicas: int,
    **resources: float,
) -> ray.data.Dataset:
    return dataset.map_batches(
        actor,
        fn_constructor_kwargs=arguments,
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=replicas),
        **resources,
    )


@ray.remote
def _embed(model_folder: str, titles: list[str]) -> np.ndarray:
    from dualrec.language.rerank import catalogue_embeddings

    return catalogue_embeddings(model_folder, titles)


class _SequenceActor:
    """Loads torch where the actor runs, not in the driver."""

    def __init__(self, weights: "ray.ObjectRef[bytes]", settings: SequenceSettings, use_gpu: bool) -> None:
        from dualrec.sequence.predict import SequencePredictor

        self.predict = SequencePredictor(ray.get(weights), settings, use_gpu)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self.predict(batch)


class _PromptActor:
    def __init__(self, titles: "ray.ObjectRef[dict[int, str]]", folder: str, **arguments: Any) -> None:
        from dualrec.language.tokens import PromptBuilder

        self.build = PromptBuilder(folder, titles=ray.get(titles), **arguments)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self.build(batch)


class _RerankActor:
    def __init__(
        self,
        folder: str,
        catalogue: "ray.ObjectRef[pa.Table]",
        embeddings: "ray.ObjectRef[np.ndarray]",
        **arguments: Any,
    ) -> None:
        from dualrec.language.rerank import Reranker

        self.rerank = Reranker(folder, ray.get(catalogue), ray.get(embeddings), **arguments)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self.rerank(batch)
