"""The vLLM actor of Ray Data, with the model brought to the node that the actor runs on. Loaded on
that node."""

import time
from collections.abc import AsyncIterator
from typing import Any

from ray.actor import ActorHandle
from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineStageUDF

from dualrec.language.models import ServedModel

REPORT_EVERY_S = 1.0


class Engine(vLLMEngineStageUDF):
    """Ray Data's own actor takes a folder, which has to be on every node before a job begins.

    Args:
        served: the model.
        counter: a RowCounter that learns when the model is loaded, and of answers as they are
            written, since a batch is handed on as a whole.
        options: of Ray Data's actor.

    Raises:
        AssetError: the model cannot be had on this node.
    """

    def __init__(
        self, served: ServedModel, counter: ActorHandle | None, model: str, **options: Any
    ) -> None:
        assert served.location is not None, f"{model} is served at an endpoint"
        super().__init__(model=str(served.location.folder()), **options)
        self.counter, self.unreported, self.reported_at = counter, 0, 0.0
        if counter is not None:
            counter.engine_loaded.remote()

    async def udf(self, batch: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """The answers of a batch, each when it is written."""
        async for answer in super().udf(batch):
            self._report_written()
            yield answer

    def _report_written(self) -> None:
        self.unreported += 1
        if self.counter is not None and time.monotonic() - self.reported_at >= REPORT_EVERY_S:
            self.counter.add_written.remote(self.unreported)
            self.unreported, self.reported_at = 0, time.monotonic()
