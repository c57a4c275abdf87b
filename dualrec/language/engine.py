"""The vLLM actor of Ray Data, with the model brought to the node that the actor runs on. Loaded on that node."""

from typing import Any

from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineStageUDF

from dualrec.language.models import ServedModel


class Engine(vLLMEngineStageUDF):
    """Ray Data's own actor takes a folder, which has to be on every node before a job begins.

    Args:
        served: the model, and the adapter where one goes over it.
        options: of Ray Data's actor.

    Raises:
        AssetError: the model cannot be had on this node.
    """

    def __init__(self, served: ServedModel, model: str, **options: Any) -> None:
        assert served.place is not None, f"{model} is served at an endpoint"
        if served.adapter:
            served.adapter[0].folder()
        super().__init__(model=str(served.place.folder()), **options)
