"""The vLLM actor of Ray Data, with the model brought to the node that the actor runs on. Loaded on
that node."""

import time
from collections.abc import AsyncIterator
from typing import Any

from ray.actor import ActorHandle
from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineStageUDF

from dualrec.language.models import ServedModel

TELL_S = 1.0


class Engine(vLLMEngineStageUDF):
    """Ray Data's own actor takes a folder, which has to be on every node before a job begins.

    Args:
        served: the model.
        counter: a RowCounter that is told when the model is there, and of answers as they are
            written, since a batch is
            handed on as a whole.
        options: of Ray Data's actor.

    Raises:
        AssetError: the model cannot be had on this node.
    """

    def __init__(
        self, served: ServedModel, counter: ActorHandle | None, model: str, **options: Any
    ) -> None:
        assert served.place is not None, f"{model} is served at an endpoint"
        super().__init__(model=str(served.place.folder()), **options)
        self.counter, self.untold, self.told_at = counter, 0, 0.0
        if counter is not None:
            counter.engine_loaded.remote()

    async def udf(self, batch: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """The answers of a batch, each when it is written."""
        async for answer in super().udf(batch):
            self._tell()
            yield answer

    def _tell(self) -> None:
        self.untold += 1
        if self.counter is not None and time.monotonic() - self.told_at >= TELL_S:
            self.counter.add_written.remote(self.untold)
            self.untold, self.told_at = 0, time.monotonic()
