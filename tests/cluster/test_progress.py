import logging

import numpy as np
import pytest

from dualrec.cluster import progress
from dualrec.cluster.progress import Progress, log_progress
from dualrec.sequence import worker


def test_a_line_tells_the_rate_and_the_time_left() -> None:
    assert (
        Progress(0, 0, 0.0).line(100, "requests")
        == "0 of 100 requests: the models are being loaded"
    )
    assert (
        Progress(0, 0, 0.0, loaded=True).line(9, "requests")
        == "0 of 9 requests: the first answers are being written"
    )
    assert Progress(10, 0, 0.0).line(100, "requests") == "10 of 100 requests"
    assert (
        Progress(40, 30, 60.0).line(100, "users")
        == "40 of 100 users, 0.5 a second, about 2.0 min left"
    )
    fast = Progress(40_000, 30_000, 10.0).line(400_000, "ratings")
    assert fast == "40,000 of 400,000 ratings, 3,000 a second, about 2.0 min left"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_rows_that_actors_add_appear_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import ray

    monkeypatch.setattr(progress, "INTERVAL_S", 0.2)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    caplog.set_level(logging.INFO, "dualrec")
    with log_progress(7, "requests") as counter:
        ray.get([counter.add.remote(3), counter.add.remote(4)])
        for _ in range(100):
            if "7 of 7 requests" in caplog.text:
                break
            progress.time.sleep(0.1)
    assert "7 of 7 requests" in caplog.text


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_answers_count_before_their_batch_is_finished_and_once() -> None:
    import ray

    counter = progress.RowCounter.remote()  # type: ignore[attr-defined]
    assert not ray.get(counter.progress.remote()).loaded
    ray.get(counter.engine_loaded.remote())
    assert ray.get(counter.progress.remote()).loaded
    done = []
    for add, rows in (
        ("add_written", 2),
        ("add_written", 4),
        ("add", 5),
        ("add_written", 1),
        ("add", 5),
    ):
        ray.get(getattr(counter, add).remote(rows))
        state = ray.get(counter.progress.remote())
        done.append((state.rows, state.rows_since_first))
    ray.kill(counter)
    assert done == [(2, 0), (6, 4), (6, 4), (7, 5), (10, 8)]


def test_a_long_epoch_tells_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "INTERVAL_S", 0.0)
    batches = [{"size": np.array([3, 2])}, {"size": np.array([5])}]
    with caplog.at_level(logging.INFO, logger=worker.logger.name):
        assert list(worker.logged_batches(batches, "epoch 1/2", targets=40, workers=2)) == batches
    assert [message.split(", ")[0] for message in caplog.messages] == [
        "epoch 1/2: 10 of 40 targets", "epoch 1/2: 20 of 40 targets"
    ]  # fmt: skip


def test_a_silent_step_is_said_to_be_at_work_and_one_that_logs_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "INTERVAL_S", 0.2)
    caplog.set_level(logging.INFO, "dualrec")
    with progress.heartbeat("prepare"):
        progress.time.sleep(0.5)
    assert 1 <= len(caplog.messages) <= 2 and set(caplog.messages) == {"prepare: at work for 0 s"}
    handlers = list(logging.getLogger("dualrec").handlers)
    caplog.clear()
    with progress.heartbeat("prepare"):
        for _ in range(10):
            progress.time.sleep(0.05)
            logging.getLogger("dualrec.sequence.train").info("epoch")
    assert set(caplog.messages) == {"epoch"}
    assert logging.getLogger("dualrec").handlers == handlers
