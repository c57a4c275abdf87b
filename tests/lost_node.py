"""A local cluster whose head has no CPUs, so that all work is on its two other nodes, one of which
is lost on the way."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray.cluster_utils import Cluster

from tests.processes import free_port

Held = Callable[[str], list[str]]


@contextmanager
def cluster_that_loses_a_node(
    ready: Callable[[], bool], held: Held, cpus: int
) -> Iterator[list[str]]:
    """Connect to such a cluster; the list fills with what the lost node held.

    Args:
        ready: whether the moment has come; asked again and again.
        held: what lies on the node of an id; the node with the most is lost.
        cpus: of each of the two nodes.
    """
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": True, "dashboard_port": free_port()},
    )
    workers = [cluster.add_node(num_cpus=cpus) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    os.environ["RAY_ADDRESS"] = (
        cluster.address
    )  # whose state is asked for; else that of the newest cluster on this machine
    lost: list[str] = []

    def lose() -> None:
        while not ready():
            time.sleep(0.05)
        on_node = {node: held(node.node_id) for node in workers}
        victim = max(workers, key=lambda node: len(on_node[node]))
        lost.extend(on_node[victim])
        cluster.remove_node(victim, allow_graceful=False)

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    yield lost
    thread.join(timeout=10)
    ray.shutdown()
    cluster.shutdown()
