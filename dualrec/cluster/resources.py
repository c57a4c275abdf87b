"""The resources of a job: actors of each kind, GPUs, memory, threads.

Ray is imported only by the functions that read the state of the cluster.
"""

import os

from dualrec.config.settings import EngineSettings, Settings

SHORT_SPIN = {"GOMP_SPINCOUNT": "1000"}
ENGINES_PER_SCORER = 4  # that one sequence model, or one writer of prompts, keeps busy


def engine_replicas(engine: EngineSettings, gpus: float) -> int:
    """Return the most engines: as many as the GPUs hold, at least one, which makes a cluster grow.

    On CPUs it is one, which uses all cores. Pools of actors grow to their most as there is work.

    Args:
        gpus: of the cluster as it is now.
    """
    return engine.replicas or (max(int(gpus) // engine.tensor_parallel, 1) if engine.use_gpu else 1)


def sequence_replicas(settings: Settings, gpus: float) -> int:
    """Return the most actors with the sequence model."""
    return settings.recommend.sequence_replicas or prompt_replicas(settings, gpus)


def prompt_replicas(settings: Settings, gpus: float) -> int:
    """Return the most actors that write prompts; they need no setting, since they take little."""
    return -(-engine_replicas(settings.language.engine, gpus) // ENGINES_PER_SCORER)


def rerank_replicas(settings: Settings, gpus: float) -> int:
    """Return the most actors that rerank titles."""
    return settings.rerank.replicas or engine_replicas(settings.language.engine, gpus)


def cluster_gpus() -> float:
    """Return the GPUs of the cluster as it is now."""
    import ray

    return float(ray.cluster_resources().get("GPU", 0.0))


def largest_node_gib() -> float:
    """Return the memory of the cluster's largest node, as Ray counts it, in GiB."""
    import ray

    nodes = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return max(resources.get("memory", 0.0) for resources in nodes) / 2**30


def let_idle_threads_sleep() -> None:
    """Let OpenMP's threads sleep after a microsecond of waiting for each other, unless the
    environment sets it.

    By default they spin for milliseconds. On a core that another process uses too, a spinning
    thread takes the share of the thread it waits for: beside two busy loops, two threads trained at
    a tenth of their quiet rate and less (docs/benchmarks.md). Never spinning
    (OMP_WAIT_POLICY=passive) costs a third of the quiet rate. Call it before torch is imported,
    since OpenMP reads its variables once; a cluster that starts from this process inherits them,
    and runtime_env.yaml sets them for a submitted job.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in SHORT_SPIN.items():
            os.environ.setdefault(name, value)
