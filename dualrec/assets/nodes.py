"""Models as any node of the cluster can have them: by where they come from, not by a folder that
only one machine has.

Each node brings a model into its own cache when something on it first asks for the folder. Nothing
relies on a disk that
nodes share, unless a local folder or zip is named: that has to be at the same place on every node.
"""

import socket
from dataclasses import dataclass
from pathlib import Path

from dualrec.assets.fetch import resolve_model
from dualrec.assets.registry import MODELS
from dualrec.config.settings import NetworkSettings, Settings
from dualrec.errors import AssetError


@dataclass(frozen=True)
class ModelPlace:
    """A whole model: weights and tokenizer.

    Attributes:
        source: what `resolve_model` takes.
        cache: the folder of downloaded assets, on each node.
        network: how patiently it is fetched there.
    """

    source: str
    cache: str
    network: NetworkSettings = NetworkSettings()

    @classmethod
    def named(cls, source: str, settings: Settings) -> "ModelPlace":
        """The place that a user named: a relative path is meant from where the user is, not from
        where a worker is."""
        cache = settings.cache
        if source not in MODELS and Path(source).expanduser().exists():
            source = str(Path(source).expanduser().absolute())
        return cls(
            source,
            cache if cache.startswith("~") else str(Path(cache).absolute()),
            settings.network,
        )

    def folder(self) -> Path:
        """Its folder on the node that asks.

        Raises:
            AssetError: it cannot be had there.
        """
        try:
            return resolve_model(self.source, self.cache, self.network)
        except AssetError as error:
            raise AssetError(f"on node {socket.gethostname()}: {error}") from error
