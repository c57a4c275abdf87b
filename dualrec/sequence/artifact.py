"""Where a trained sequence model lies, and under which version. Knows names only."""

from dualrec.config.settings import Settings, version_of
from dualrec.data.prepare import Prepared

# of training and prediction; raised when they give other results for the same input
# (CONTRIBUTING.md)
METHOD = 2
WEIGHTS = "model.safetensors"
METRICS = "metrics.json"
TENSORBOARD = "tensorboard"


def sequence_version(data: Prepared, settings: Settings) -> str:
    """The version of the sequence model that these histories and settings make."""
    shapes = settings.sequence.model_dump(mode="json", exclude={"preset", "top_k", "resources"})
    return version_of(METHOD, data.version, shapes)


def sequence_name(data: Prepared, settings: Settings) -> str:
    """The artifact's name in the workspace."""
    return f"models/sequence/{sequence_version(data, settings)}"
