"""`python -m tests.nightly.three_nodes WORKSPACE SETTING...`: a night on a cluster of three nodes, one of which is lost.

The head has no CPUs, so that all work is on the other two. The last line tells which actors lay on the lost node.
"""

import json
import sys
import threading
import time

import ray
from ray.cluster_utils import Cluster
from ray.util.state import list_actors

from dualrec.nightly.nightly import nightly
from dualrec.settings import load_settings
from tests.nightly.site import scored_files


def main() -> None:
    """Run the night, and take away a node that holds actors once some users are scored."""
    workspace, *settings = sys.argv[1:]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    workers = [cluster.add_node(num_cpus=4) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    lost: list[str] = []

    def lose() -> None:
        while not scored_files(workspace):
            time.sleep(0.05)
        alive = [
            actor for actor in list_actors(limit=1000) if actor.state == "ALIVE" and "MapWorker" in actor.class_name
        ]
        held = {node: [actor.class_name for actor in alive if actor.node_id == node.node_id] for node in workers}
        victim = max(workers, key=lambda node: len(held[node]))
        lost.extend(held[victim])
        cluster.remove_node(victim, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    nightly(load_settings(None, settings))
    thread.join(timeout=10)
    sys.stdout.write("\n" + json.dumps({"actors": lost}) + "\n")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
