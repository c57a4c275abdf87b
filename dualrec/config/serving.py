"""How the published lists are served over HTTP."""

from typing import Annotated

from pydantic import Field

from dualrec.config.group import Count, Group, Seconds


class ServingSettings(Group):
    """How the published lists are served over HTTP."""

    host: str = (
        "127.0.0.1"  # 0.0.0.0: reachable from other machines, for a gateway that knows who may ask
    )
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    replicas: Count = 1  # each holds the whole night in memory
    cpus: Annotated[float, Field(gt=0)] = 1.0  # of a replica
    poll_seconds: Seconds = 30.0  # between two looks for a new night, or for one rolled back
    queue: Count = 200  # requests that may wait for a replica; more are answered 503
