import logging

import pytest

from dualrec.cluster.worker_logs import tell_driver, workers_heard

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def _work() -> None:
    import ray

    @ray.remote
    def work() -> None:
        tell_driver()
        logging.getLogger("dualrec.sequence.train").info("epoch 1/3")
        logging.getLogger("vllm").warning("noise")

    ray.get([work.remote(), work.remote()])


def test_what_workers_tell_reaches_the_log_of_the_job_and_nothing_else_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "dualrec")
    with workers_heard():
        _work()
    assert caplog.messages.count("epoch 1/3") == 2
    assert "noise" not in caplog.text


def test_a_worker_to_whom_nobody_listens_works_all_the_same() -> None:
    _work()
