"""Every option of every job: one frozen pydantic tree, read from YAML, with `--set a.b=c` over it.
Unknown keys are refused.

Knows nothing of Ray, files or models. Each default is what serves best on one ordinary machine; the
profiles in jobs/configs say what changes on a cluster.
"""

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from dualrec.config.data import Columns, DataSettings
from dualrec.config.evaluation import BaselineSettings, EvaluationSettings, VariantSettings
from dualrec.config.group import Count, Group, Seconds, VariableName
from dualrec.config.language import (
    EndpointSettings,
    EngineSettings,
    FinetuneSettings,
    LanguageSettings,
    RerankSettings,
    ShortlistSettings,
)
from dualrec.config.network import DownloadSettings, NetworkSettings, StoreSettings
from dualrec.config.nightly import GateSettings, NightlySettings, PriceSettings
from dualrec.config.overrides import lay_over, read_yaml, validation_message
from dualrec.config.training import (
    MemberSettings,
    SequenceResources,
    SequenceSettings,
    TrackingSettings,
    TrainingResources,
)
from dualrec.errors import SettingsError

__all__ = [
    "BaselineSettings", "ClusterSettings", "Columns", "DataSettings", "DownloadSettings",
    "EndpointSettings", "EngineSettings", "EvaluationSettings", "FinetuneSettings",
    "GateSettings", "LanguageSettings", "MemberSettings", "NetworkSettings", "NightlySettings",
    "PriceSettings", "PublishSettings", "RankingSettings", "RecommendSettings",
    "RerankSettings", "SequenceResources", "SequenceSettings", "ServingSettings", "Settings",
    "ShortlistSettings", "StoreSettings", "TrackingSettings", "TrainingResources",
    "VariantSettings", "load_settings", "overridden", "version_of",
]  # fmt: skip


class RankingSettings(Group):
    """The final list."""

    preset: Literal["fused", "paper"] = (
        "fused"  # paper: the generated titles, reranked; fused: both models' items
    )
    length: Annotated[int, Field(ge=1, le=100)] = 10
    calibration_users: Count = (
        500  # validation users on whom the weight of the fused list is chosen
    )
    seed: int = 0


class RecommendSettings(Group):
    """Whom `recommend` serves, and as what."""

    split: Literal["train", "validation", "test", "all"] = "test"
    # A seeded sample of about so many users, to try settings or to measure what all would cost; 0:
    # everybody, whom `nightly` serves in any case.
    max_users: Annotated[int, Field(ge=0)] = 0
    run_date: date | None = None  # YYYY-MM-DD; None: today, UTC
    sequence_replicas: Annotated[int, Field(ge=0)] = 0  # at most; 0: one for every four engines
    sequence_cpus: Annotated[float, Field(gt=0)] = 0.2
    sequence_use_gpu: bool = False
    # The environment variable of the driver that holds a salt, under which traces name users by a
    # hash; None: by their ids.
    trace_salt_env: VariableName | None = None


class PublishSettings(Group):
    """What becomes of published nights."""

    retention_days: Count = (
        30  # how long replaced versions and abandoned staging stay; the version before stays longer
    )


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


class ClusterSettings(Group):
    """Which Ray cluster the jobs run on."""

    address: str | None = (
        None  # None: the cluster of RAY_ADDRESS (set by `ray job submit`), else one of its own
    )
    cpus: Annotated[int, Field(ge=0)] = 0  # of a cluster of its own; 0: all there are


class Settings(Group):
    """The whole tree."""

    workspace: str = "./workspace"
    cache: str = "~/.cache/dualrec"  # downloaded data sets and models
    data: DataSettings = DataSettings()
    sequence: SequenceSettings = SequenceSettings()
    language: LanguageSettings = LanguageSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    rerank: RerankSettings = RerankSettings()
    ranking: RankingSettings = RankingSettings()
    recommend: RecommendSettings = RecommendSettings()
    nightly: NightlySettings = NightlySettings()
    publish: PublishSettings = PublishSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    baselines: BaselineSettings = BaselineSettings()
    cluster: ClusterSettings = ClusterSettings()
    tracking: TrackingSettings = TrackingSettings()
    serving: ServingSettings = ServingSettings()
    network: NetworkSettings = NetworkSettings()


def load_settings(config: str | None = None, overrides: list[str] | None = None) -> Settings:
    """Read the tree from a YAML file and lay `a.b=c` overrides over it; the value is read as YAML.

    Raises:
        SettingsError: the file is missing or no YAML mapping, a key is unknown, or a value is not
            allowed.
    """
    tree = read_yaml(Path(config)) if config else {}
    return _laid_over(tree, overrides or [], config)


def overridden(settings: Settings, overrides: list[str]) -> Settings:
    """The same settings with `a.b=c` overrides laid over them.

    Raises:
        SettingsError: a key is unknown, or a value is not allowed.
    """
    return _laid_over(settings.model_dump(mode="json", exclude_unset=True), overrides, None)


def _laid_over(tree: dict[str, Any], overrides: list[str], config: str | None) -> Settings:
    for override in overrides:
        lay_over(tree, override)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(
            validation_message(error, Settings, config)
        ) from None  # pydantic's own error repeats every value


def version_of(*parts: object) -> str:
    """A short name for a set of inputs and settings: 12 hexadecimal digits that change when any of
    them does.

    `resources`, `engine` and `network` groups are left out, and how long anything is waited for:
    they say where and how patiently work runs, not what comes out.
    """
    plain = [
        _without_resources(part.model_dump(mode="json")) if isinstance(part, BaseModel) else part
        for part in parts
    ]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _without_resources(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_resources(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if key not in ("resources", "engine", "network", "replicas", "cpus", "shards", "block_mib")
        and key not in ("api_key_env", "requests_per_second", "retries")
        and key
        not in (
            "timeout_s",
            "connect_timeout_s",
            "backoff_s",
            "longest_wait_s",
            "lease_seconds",
            "poll_seconds",
        )
    }
