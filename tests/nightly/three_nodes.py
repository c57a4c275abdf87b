"""`python -m tests.nightly.three_nodes WORKSPACE SETTING...`: a night on a cluster of three nodes,
one of which is lost.

The last line tells which actors lay on the lost node, and of each meter whether it lay on the
driver's.
"""

import json
import sys

import ray
from ray.util.state import list_actors

from dualrec.config.settings import load_settings
from dualrec.language.chat import RateLimiter
from dualrec.nightly.nightly import nightly
from tests.lost_node import cluster_that_loses_a_node
from tests.nightly.site import scored_files


def main() -> None:
    """Run the night, and take away a node that holds actors once some users are scored."""
    workspace, *settings = sys.argv[1:]
    with cluster_that_loses_a_node(lambda: scored_files(workspace) > 0, _actors_on, cpus=4) as lost:
        nightly(load_settings(None, settings))
        here = ray.get_runtime_context().get_node_id()
        meters = [
            actor.node_id == here
            for actor in list_actors(limit=1000)
            if actor.class_name == RateLimiter.__name__
        ]
    sys.stdout.write("\n" + json.dumps({"actors": lost, "meters_with_the_driver": meters}) + "\n")


def _actors_on(node: str) -> list[str]:
    actors = [
        actor
        for actor in list_actors(limit=1000)
        if actor.state == "ALIVE" and actor.node_id == node
    ]
    return [actor.class_name for actor in actors if "MapWorker" in actor.class_name]


if __name__ == "__main__":
    main()
