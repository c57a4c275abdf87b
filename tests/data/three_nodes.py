"""`python -m tests.data.three_nodes SETTING...`: `prepare` on a cluster of three nodes, one of
which is lost in the shuffle.

The last line tells which of the shuffle's tasks had come to the lost node.
"""

import json
import sys

from ray.util.state import list_tasks

from dualrec.config.settings import load_settings
from dualrec.data.prepare import prepare
from tests.lost_node import cluster_that_loses_a_node


def main() -> None:
    """Prepare, and take away a node that holds a part of the shuffle."""
    with cluster_that_loses_a_node(lambda: bool(_shuffled()), _shuffled, cpus=2) as lost:
        prepare(load_settings(None, sys.argv[1:]))
    sys.stdout.write("\n" + json.dumps({"tasks": lost}) + "\n")


def _shuffled(node: str | None = None) -> list[str]:
    tasks = [
        task
        for task in list_tasks(limit=10_000, detail=True)
        if "HashShuffleMap" in (task.name or "")
    ]
    return [
        f"{task.name}: {task.state}"
        for task in tasks
        if task.node_id and node in (None, task.node_id)
    ]


if __name__ == "__main__":
    main()
