"""Recommending through a real OpenAI-compatible server on this machine, vLLM's own, with faults put
in between."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dualrec.assets.fetch import resolve_model
from dualrec.config.settings import Settings
from dualrec.data.prepare import prepare
from dualrec.ranking.recommend import recommend
from dualrec.sequence.train import train_sequence
from dualrec.storage.schemas import RECOMMENDATIONS, TRACES
from dualrec.storage.workspace import Workspace
from tests.fake_endpoint import fake_endpoint
from tests.processes import free_port, running

KEY = "sk-of-this-test-alone"
CACHE = "~/.cache/dualrec"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a vLLM server that calls the small model `tiny` and asks for the key."""
    port = free_port()
    line = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(resolve_model("smollm2-135m", CACHE)),
        "--served-model-name", "tiny", "--enforce-eager", "--dtype", "float32", "--max-model-len", "1024",
        "--host", "127.0.0.1", "--port", str(port), "--api-key", KEY,
    ]  # fmt: skip
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    url = f"http://127.0.0.1:{port}"
    with running(line, environment, f"{url}/health", 600, tmp_path / "server.log"):
        yield f"{url}/v1"


@pytest.mark.long
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.timeout(1200)
def test_every_user_gets_a_list_from_an_endpoint_that_fails_at_times(
    server: str,
    movielens: Path,
    settings_for: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    faults: list[int | str] = [429, 500, "drop", "rubbish", 400]
    with fake_endpoint(*faults, upstream=server, key=KEY) as proxy:
        settings = settings_for(
            f"data.source={movielens}", f"cache={CACHE}", "sequence.preset=paper", "sequence.hidden=[8,8]", "sequence.epochs=1",
            "ranking.preset=paper", "language.model=deepseek-v3", "language.endpoint.model=tiny",
            f"language.endpoint.url={proxy.url}", "language.endpoint.api_key_env=A_KEY",
        )  # fmt: skip
        for job in (prepare, train_sequence, recommend):
            job(settings)

    workspace = Workspace.of(settings)
    tables = {}
    for name, schema in (("recommendations", RECOMMENDATIONS), ("traces", TRACES)):
        (folder,) = (tmp_path / "workspace" / name).glob("run_date=*/run_id=*/attempt-*")
        tables[name] = workspace.read_table(
            str(folder.relative_to(workspace.root)), schema
        ).to_pylist()
    served = {row["user_id"] for row in tables["recommendations"]}
    assert served == {trace["user_id"] for trace in tables["traces"]}
    assert (
        len(proxy.seen) == len(served) + 3
    )  # a second try after each of 429, 500 and the lost connection
    failed = [trace for trace in tables["traces"] if trace["error"]]
    assert len(failed) == 2 and len(served) > 4
    for trace in tables["traces"]:
        assert (
            (trace["generated_text"] is None)
            == (trace["generated_tokens"] is None)
            == bool(trace["error"])
        )
    alone = {trace["user_id"] for trace in failed}
    assert {row["source"] for row in tables["recommendations"] if row["user_id"] in alone} == {
        "sequence"
    }
    files = [path for path in Path(workspace.root).rglob("*") if path.is_file()]
    assert files and not [path for path in files if KEY.encode() in path.read_bytes()]
