"""What is needed to run on a cluster: cluster.yaml, runtime_env.yaml and the profiles are what Ray
and dualrec accept."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dualrec.config.settings import load_settings

ROOT = Path(__file__).parents[1]
PROFILES = sorted((ROOT / "jobs/configs").glob("*.yaml"))


def read(name: str) -> dict[str, Any]:
    """A YAML file of the repository's root."""
    return yaml.safe_load((ROOT / name).read_text())


def prepared() -> dict[str, Any]:
    """cluster.yaml with Ray's defaults filled in, as `ray up` would."""
    from ray.autoscaler._private.util import prepare_config

    return prepare_config(read("cluster.yaml"))


def test_ray_accepts_the_cluster():
    from ray.autoscaler._private.util import validate_config

    validate_config(prepared())


def test_the_aws_provider_launches_every_kind_of_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What `ray up` does before it logs in to a node, on a stand-in for EC2 and IAM: key pair,
    subnets, group, launch."""
    import boto3
    from moto import mock_aws
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    for name, value in (
        ("ACCESS_KEY_ID", "none"),
        ("SECRET_ACCESS_KEY", "none"),
        ("DEFAULT_REGION", "us-west-2"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("HOME", str(tmp_path))  # it writes the key pair's key there
    launched = {}
    with mock_aws():
        boto3.client("iam").create_instance_profile(InstanceProfileName="YOUR-INSTANCE-PROFILE")
        machines = boto3.client("ec2")
        image = machines.describe_images()["Images"][0]["ImageId"]
        cluster = prepared()
        for node_type in cluster["available_node_types"].values():
            node_type["node_config"]["ImageId"] = image
        cluster = bootstrap_aws(cluster)
        provider = AWSNodeProvider(cluster["provider"], cluster["cluster_name"])
        for name, node_type in cluster["available_node_types"].items():
            (node,) = provider.create_node(
                dict(node_type["node_config"]), {"ray-node-name": name}, 1
            )
            (reservation,) = machines.describe_instances(InstanceIds=[node])["Reservations"]
            launched[name] = reservation["Instances"][0]
    assert {name: node["InstanceType"] for name, node in launched.items()} == {
        "head": "m7i.xlarge",
        "cpu": "m7i.4xlarge",
        "gpu": "g6e.4xlarge",
    }
    assert {name for name, node in launched.items() if node.get("InstanceLifecycle") == "spot"} == {
        "cpu",
        "gpu",
    }
    assert all(
        node["IamInstanceProfile"]["Arn"].endswith("YOUR-INSTANCE-PROFILE")
        for node in launched.values()
    )


def test_nodes_share_no_disk():
    cluster = read("cluster.yaml")
    assert not any(" -v" in f" {option}" for option in cluster["docker"]["run_options"])
    assert not cluster.get("initialization_commands")
    settings = load_settings(str(ROOT / "jobs/configs/ml-32m-cluster.yaml"))
    assert settings.workspace.startswith("s3://")
    assert settings.cache.startswith("~/"), "a cache in each node's own home"


def test_every_node_of_the_cluster_installs_the_gpu_lock_and_nothing_else():
    cluster = prepared()
    for node_type in cluster["available_node_types"].values():
        commands = node_type.get("worker_setup_commands", cluster["worker_setup_commands"])
        assert [command for command in commands if "install" in command] == read("cluster.yaml")[
            "setup_commands"
        ]
    assert cluster["head_setup_commands"] == read("cluster.yaml")["setup_commands"]
    (install,) = read("cluster.yaml")["setup_commands"]
    assert "--no-deps" in install
    assert "/requirements/gpu.txt" in install


def test_no_node_needs_a_key_to_reach_the_object_storage():
    nodes = read("cluster.yaml")["available_node_types"].values()
    assert all("IamInstanceProfile" in node["node_config"] for node in nodes)


def test_gpu_workers_are_spot_nodes_that_come_on_demand():
    nodes = [
        node
        for node in read("cluster.yaml")["available_node_types"].values()
        if node["resources"].get("GPU")
    ]
    assert nodes
    assert all(node["min_workers"] == 0 < node["max_workers"] for node in nodes)
    assert all(
        node["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for node in nodes
    )


def test_ray_accepts_the_runtime_environment():
    from ray.runtime_env import RuntimeEnv

    environment = read("runtime_env.yaml")
    assert (
        RuntimeEnv(**environment, working_dir=str(ROOT)).to_dict()["env_vars"]
        == environment["env_vars"]
    )


def test_a_submitted_job_installs_no_packages_and_carries_no_keys():
    environment = read("runtime_env.yaml")
    assert not {"pip", "uv", "conda"} & environment.keys()
    assert not [
        name
        for name in environment["env_vars"]
        if name.endswith(("KEY", "TOKEN", "SECRET", "PASSWORD"))
    ]


@pytest.mark.parametrize("profile", PROFILES, ids=[path.name for path in PROFILES])
def test_every_profile_loads_and_says_its_hardware_and_time(profile: Path):
    load_settings(str(profile))
    opening = "\n".join(profile.read_text().splitlines()[:6])
    assert re.search(r"^# .*(CPU|GPU)", opening, re.MULTILINE)
    assert re.search(r"^# .*(minutes|hours|not measured)", opening, re.MULTILINE)


def test_the_full_cluster_has_what_its_profile_asks_for():
    settings = load_settings(str(ROOT / "jobs/configs/ml-32m-cluster.yaml"))
    nodes = read("cluster.yaml")["available_node_types"].values()
    gpus = sum(node["resources"].get("GPU", 0) * node.get("max_workers", 1) for node in nodes)
    cpus = sum(node["resources"]["CPU"] * node.get("max_workers", 1) for node in nodes)
    recommend, engine, rerank, training = (
        settings.recommend,
        settings.language.engine,
        settings.rerank,
        settings.sequence.resources,
    )
    assert engine.replicas * engine.tensor_parallel <= gpus
    assert training.workers <= gpus
    assert (
        recommend.sequence_replicas * recommend.sequence_cpus + rerank.replicas * rerank.cpus < cpus
    )
    assert engine.batch_size * engine.concurrent_batches >= engine.max_sequences
