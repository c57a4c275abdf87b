"""Load the models that scoring needs, and check that nodes can have them. Takes settings and the
workspace; knows no request.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from dualrec.assets.nodes import ModelPlace
from dualrec.cluster.resources import largest_node_gib
from dualrec.config.settings import LanguageSettings, Settings
from dualrec.data.prepare import Prepared
from dualrec.language.artifact import served_model
from dualrec.language.models import (
    ServedModel,
    check_decoding,
    check_ranking,
    check_room_on_cpus,
)
from dualrec.language.rerank import title_embeddings
from dualrec.sequence.artifact import WEIGHTS, sequence_name
from dualrec.storage.workspace import Workspace


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
    folder = language.location.folder() if language.location else None
    if folder and settings.mode == "rank":
        label_tokens(tokenizer_of(str(folder)), settings.rank_candidates)
