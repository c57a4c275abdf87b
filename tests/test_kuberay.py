"""The manifests for KubeRay: valid for Kubernetes, strictly, and a job submitted once."""

import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from dualrec.config.settings import load_settings

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy/kuberay"
KUBERNETES = "1.37"


def documents(name: str) -> list[dict[str, Any]]:
    """The objects of one manifest."""
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def night() -> dict[str, Any]:
    """The RayJob of one date."""
    return yaml.safe_load((FOLDER / "night.yaml").read_text().replace("RUN-DATE", "2026-11-01"))


def groups() -> dict[str, dict[str, Any]]:
    """The head's group and the workers'."""
    cluster = night()["spec"]["rayClusterSpec"]
    return {
        "head": cluster["headGroupSpec"],
        **{one["groupName"]: one for one in cluster["workerGroupSpecs"]},
    }


def refused(kind: dict[str, Any]) -> bool:
    """Whether KubeRay's fields do not allow this RayJob."""
    schema = yaml.safe_load((Path(__file__).parent / "rayjob.schema.yaml").read_text())
    return bool(list(jsonschema.Draft202012Validator(schema).iter_errors(kind)))


def test_kuberay_accepts_the_night():
    assert not refused(night())
    for change in ({"jobID": "x"}, {"backoffLimit": "1"}, {"submissionMode": "Http"}):
        wrong = night()
        wrong["spec"] |= change
        assert refused(wrong), change


@pytest.mark.parametrize("group", ["head", "cpu", "gpu"])
def test_kubernetes_accepts_the_pods_of_each_group(group: str):
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": group},
        **groups()[group]["template"],
    }
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    pod["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="volumeMount"):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["access.yaml", "cronjob.yaml"])
def test_kubernetes_accepts_the_rest(name: str):
    for document in documents(name):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_night_is_what_the_project_runs():
    spec = night()["spec"]
    lock = (ROOT / "requirements/gpu.txt").read_text().splitlines()
    assert f"ray=={spec['rayClusterSpec']['rayVersion']}" in lock
    command = spec["entrypoint"].split()
    assert command[:3] == ["python", "-m", "jobs.nightly"]
    config = command[command.index("--config") + 1].removeprefix("/home/ray/dualrec/")
    values = [command[place + 1] for place, word in enumerate(command) if word == "--set"]
    settings = load_settings(str(ROOT / config), values)
    assert (
        settings.recommend.run_date is not None
        and settings.recommend.run_date.isoformat() == "2026-11-01"
    )
    assert settings.recommend.split == "all"
    gpus = sum(
        float(
            group["template"]["spec"]["containers"][0]["resources"]["limits"].get(
                "nvidia.com/gpu", 0
            )
        )
        * group["maxReplicas"]
        for name, group in groups().items()
        if name != "head"
    )
    assert settings.language.engine.replicas * settings.language.engine.tensor_parallel <= gpus
    assert settings.sequence.resources.workers <= gpus


def test_no_secret_is_written_down_and_no_pod_is_root():
    kinds = [
        document["kind"] for name in ("access.yaml", "cronjob.yaml") for document in documents(name)
    ]
    assert "Secret" not in kinds
    for group in groups().values():
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert {one["name"] for one in container["env"]} == {
            "TOKENIZERS_PARALLELISM",
            "VLLM_NO_USAGE_STATS",
        }
        assert container["envFrom"] == [{"secretRef": {"name": "dualrec-keys", "optional": True}}]
    assert night()["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_names_lead_to_what_there_is():
    (cron,) = documents("cronjob.yaml")
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    accounts = {
        one["metadata"]["name"]
        for one in documents("access.yaml")
        if one["kind"] == "ServiceAccount"
    }
    used = {group["template"]["spec"]["serviceAccountName"] for group in groups().values()}
    assert used | {pod["serviceAccountName"]} == accounts
    (kustomization,) = documents("kustomization.yaml")
    (generated,) = kustomization["configMapGenerator"]
    assert pod["volumes"][0]["configMap"]["name"] == generated["name"]
    assert all(
        (FOLDER / name).is_file() for name in kustomization["resources"] + generated["files"]
    )


def test_the_cron_job_submits_a_night_once(tmp_path: Path):
    """Its own script, with a kubectl that keeps what it is told to create in a folder, and refuses
    what is there."""
    (cron,) = documents("cronjob.yaml")
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = get ]; then [ ! -e "{tmp_path}/$3" ] || echo "rayjob/$3"; exit; fi\n'
        f'cat > "{tmp_path}/made"; name=$(sed -n "s/^  name: //p" "{tmp_path}/made"); '
        f'echo made >> "{tmp_path}/$name"\n'
    )
    kubectl.chmod(0o755)
    (script,) = container["args"]
    command = [*container["command"], script.replace("/night/", f"{FOLDER}/")]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert "was submitted before" in said[1].stdout
    (made,) = [path for path in tmp_path.iterdir() if path.name.startswith("dualrec-")]
    assert made.read_text() == "made\n"
    job = yaml.safe_load((tmp_path / "made").read_text())
    assert not refused(job)
    assert job["spec"]["jobId"] == job["metadata"]["name"].replace("dualrec-", "dualrec-night-")
    assert job["spec"]["jobId"].removeprefix("dualrec-night-") in job["spec"]["entrypoint"]
