"""How many actors of each kind score users, at most: what the settings say, else what suits the
GPUs of the cluster.

Pools grow up to it as there is work. `gpus` is what the cluster has now, as Ray counts them. Knows
no Ray.
"""

from dualrec.config.settings import EngineSettings, Settings

ENGINES_A_SCORER = 4  # one sequence model, or one maker of prompts, keeps so many engines busy


def engine_replicas(engine: EngineSettings, gpus: float) -> int:
    """Engines: as many as the GPUs hold, and at least the one that makes a cluster grow; one on
    CPUs, all of whose cores it uses."""
    return engine.replicas or (max(int(gpus) // engine.tensor_parallel, 1) if engine.use_gpu else 1)


def sequence_replicas(settings: Settings, gpus: float) -> int:
    """Sequence models."""
    return settings.recommend.sequence_replicas or prompt_replicas(settings, gpus)


def prompt_replicas(settings: Settings, gpus: float) -> int:
    """Makers of prompts: they need no setting, since they weigh little."""
    return -(-engine_replicas(settings.language.engine, gpus) // ENGINES_A_SCORER)


def rerank_replicas(settings: Settings, gpus: float) -> int:
    """Rerankers."""
    return settings.rerank.replicas or engine_replicas(settings.language.engine, gpus)
