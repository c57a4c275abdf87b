"""The alerts and the dashboard ask for metrics that there are, and a real Prometheus answers every
one of their queries."""

import ast
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import yaml

from dualrec.nightly.prometheus import DESCRIPTIONS
from scripts.make_dashboard import FILE, dashboard, queries
from tests.processes import free_port, running, wait_until

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy/prometheus"
NAME = re.compile(r"\b(?:ray_)?dualrec_[a-z0-9_]+")
# With the labels that the queries ask for; what grows has a value in seconds since 1970, so that it
# does.
SERIES = """
dualrec_nightly_start_seconds{state="published"} 1.7e9
dualrec_nightly_gate_failed{gate="error rate"} 1
dualrec_nightly_gate_failed{gate="overlap"} NaN
dualrec_nightly_users{state="scored"} 8
dualrec_nightly_ndcg_at_10 0.1
dualrec_nightly_overlap 0.6
dualrec_nightly_titles{match="exact"} 12
dualrec_nightly_titles{match="none"} 4
dualrec_nightly_tokens{direction="in"} 900
dualrec_nightly_worker_seconds{kind="engine"} 20
dualrec_nightly_engine_seconds 8
dualrec_nightly_money 20
ray_dualrec_users_scored_total NOW
ray_dualrec_tokens_total{direction="in"} NOW
ray_dualrec_engine_seconds_total NOW
ray_dualrec_errors_total{kind="HTTP 400"} NOW
ray_dualrec_titles_total{match="exact"} NOW
ray_dualrec_titles_repeated_total NOW
ray_dualrec_titles_watched_total NOW
ray_dualrec_training_loss{job="train-sequence",split="train"} 2
ray_dualrec_training_rate{job="train-sequence"} 3000
ray_dualrec_training_epoch{job="train-sequence"} 3
ray_dualrec_serving_answers_total{source="published"} NOW
ray_dualrec_serving_snapshot_seconds 1.7e9
ray_dualrec_serving_stale 1
"""

needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="Prometheus is not installed"
)


def _alerts() -> dict[str, str]:
    (group,) = yaml.safe_load((DEPLOY / "dualrec.rules.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def _told() -> set[str]:
    """The name of every metric as Prometheus sees it: those of the last night, and those that any
    code tells Ray."""
    found = set(DESCRIPTIONS)
    for path in (ROOT / "dualrec").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            match (
                call
            ):  # of ray.util.metrics or ray.serve.metrics; collections.Counter takes no name
                case ast.Call(
                    func=ast.Name(id="Counter"), args=[ast.Constant(value=str(name)), *_]
                ):
                    found.add(f"ray_{name}_total")
                case ast.Call(func=ast.Name(id="Gauge"), args=[ast.Constant(value=str(name)), *_]):
                    found.add(f"ray_{name}")
    return found


def test_the_dashboard_is_what_make_docs_writes() -> None:
    assert FILE.read_text() == dashboard(), "run make docs"


def test_metrics_of_the_last_night_of_jobs_and_of_serving_are_known() -> None:
    of_each = {
        "dualrec_nightly_overlap",
        "ray_dualrec_users_scored_total",
        "ray_dualrec_serving_stale",
    }
    assert of_each <= _told()


def test_every_metric_asked_for_is_one_that_is_told() -> None:
    for query in [*queries(), *_alerts().values()]:
        assert set(NAME.findall(query)) <= _told(), query


def test_every_metric_that_jobs_tell_is_on_the_dashboard() -> None:
    shown = {name for query in queries() for name in NAME.findall(query)}
    assert {name for name in _told() if name.startswith("ray_")} <= shown


@needs_prometheus
def test_the_alerts_fire_when_they_should() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", str(DEPLOY / "dualrec.rules.test.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tested = (DEPLOY / "dualrec.rules.test.yaml").read_text()
    assert all(f"alertname: {alert}" in tested for alert in _alerts())
    checked = subprocess.run(
        ["promtool", "check", "config", str(DEPLOY / "prometheus.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


class _Series(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(SERIES.lstrip().replace("NOW", f"{time.time():.3f}").encode())

    def log_message(self, *_: object) -> None:
        """Nothing to the terminal."""


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """The URL of a Prometheus with our alerts that scrapes every series each second."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Series) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = f"127.0.0.1:{server.server_address[1]}"
        jobs = [{"job_name": "all", "static_configs": [{"targets": [target]}]}]
        config = {
            "global": {"scrape_interval": "1s"},
            "rule_files": [str(DEPLOY / "dualrec.rules.yaml")],
            "scrape_configs": jobs,
        }
        (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
        port = free_port()
        line = [
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yaml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        url = f"http://127.0.0.1:{port}"
        with running(line, None, f"{url}/-/ready", 60, tmp_path / "prometheus.log"):
            wait_until(lambda: requests.get(f"{url}/-/ready", timeout=10).status_code == 200, 60)
            yield url
        server.shutdown()


@needs_prometheus
def test_a_real_prometheus_answers_every_query_of_the_dashboard(prometheus: str) -> None:
    def answered(query: str) -> list[object]:
        answer = requests.get(
            f"{prometheus}/api/v1/query", params={"query": query}, timeout=30
        ).json()
        assert answer["status"] == "success", (query, answer)
        return list(answer["data"]["result"])

    wait_until(lambda: bool(answered("rate(ray_dualrec_users_scored_total[1m])")), 60)
    empty = [query for query in queries() if not answered(query)]
    assert not empty
    assert len(answered("max by (gate) (dualrec_nightly_gate_failed) >= 0")) == 1, (
        "a gate that could not judge is not shown"
    )
