"""A sequence model of random weights, for tests of what stands on one and not of how it was
trained."""

import tempfile
from pathlib import Path

import pyarrow as pa
import torch

from dualrec.config.settings import SequenceSettings, Settings
from dualrec.data.prepare import prepared
from dualrec.sequence.artifact import WEIGHTS, sequence_name
from dualrec.sequence.features import item_features
from dualrec.sequence.network import SequenceEnsemble, save_ensemble
from dualrec.storage.workspace import Workspace


def write_untrained(
    workspace: Workspace, name: str, catalog: pa.Table, settings: SequenceSettings, seed: int = 0
) -> None:
    """Write the artifact `name`, with the weights of this seed."""
    torch.manual_seed(seed)
    with (
        tempfile.TemporaryDirectory() as local,
        workspace.writing(name, {"settings": settings.model_dump(mode="json")}) as folder,
    ):
        file = Path(local, WEIGHTS)
        save_ensemble(SequenceEnsemble(item_features(catalog, settings), settings), file)
        workspace.write_bytes(workspace.name_of(f"{folder}/{WEIGHTS}"), file.read_bytes())


def write_untrained_for(settings: Settings) -> None:
    """Write the one that these settings would train on the histories that are there."""
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    write_untrained(workspace, sequence_name(data, settings), data.catalog, settings.sequence)
