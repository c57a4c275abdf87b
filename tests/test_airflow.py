"""The DAG of docs/cluster.md, with stand-ins for Airflow and the cluster: one job a try, and what
each exit code brings."""

import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


class TaskError(Exception):
    """Tried again later."""


class FatalError(TaskError):
    """Not tried again."""


class SkippedError(TaskError):
    """Neither a success nor a failure."""


class Cluster:
    """Takes jobs and ends each with the exit code it was made with."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        self.jobs: list[dict[str, Any]] = []

    def submit_job(self, **job: Any) -> str:
        self.jobs.append(job)
        return job["submission_id"]

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield f"{job} ends\n"

    def get_job_info(self, job: str) -> SimpleNamespace:
        return SimpleNamespace(driver_exit_code=self.code)


def run(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    """Run the code of the page; its task is carried out as soon as it is called."""
    sdk, exceptions, ray_jobs = (
        ModuleType(name) for name in ("airflow.sdk", "airflow.sdk.exceptions", "ray.job_submission")
    )
    through: Callable[..., Any] = lambda **_: lambda function: function  # noqa: E731
    sdk.__dict__.update(
        dag=through,
        task=through,
        get_current_context=lambda: {"ds": "2026-11-01", "ti": SimpleNamespace(try_number=2)},
    )
    exceptions.__dict__.update(
        AirflowException=TaskError,
        AirflowFailException=FatalError,
        AirflowSkipException=SkippedError,
    )
    ray_jobs.__dict__.update(JobSubmissionClient=lambda address: cluster)
    for module in (ModuleType("airflow"), sdk, exceptions, ray_jobs):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    exec(
        compile(code.replace("/srv/dualrec", str(ROOT)), "docs/cluster.md", "exec"),
        {"__name__": "dag"},
    )


def test_a_try_is_one_job_of_that_date(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(0)
    run(monkeypatch, cluster)
    (job,) = cluster.jobs
    assert job["submission_id"] == "dualrec-night-2026-11-01-2"
    assert job["entrypoint"].startswith("python -m jobs.nightly ")
    assert job["entrypoint"].endswith(" --set recommend.run_date=2026-11-01")
    assert job["runtime_env"]["working_dir"] == str(ROOT) and "excludes" in job["runtime_env"]


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(1, TaskError), (None, TaskError), (2, FatalError), (3, FatalError), (4, SkippedError)],
)
def test_the_exit_code_decides_whether_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, code: int | None, outcome: type[TaskError]
) -> None:
    with pytest.raises(TaskError) as failed:
        run(monkeypatch, Cluster(code))
    assert failed.type is outcome
