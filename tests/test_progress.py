import logging

import pytest

from dualrec import progress
from dualrec.progress import Progress, logged_progress


def test_a_line_tells_the_rate_and_the_time_left() -> None:
    assert Progress(0, 0, 0.0).line(100, "requests") == "0 of 100 requests: the models are being loaded"
    assert Progress(10, 0, 0.0).line(100, "requests") == "10 of 100 requests"
    assert Progress(40, 30, 60.0).line(100, "users") == "40 of 100 users, 0.5 a second, about 2.0 min left"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_rows_that_actors_add_appear_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import ray

    monkeypatch.setattr(progress, "INTERVAL_S", 0.2)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    caplog.set_level(logging.INFO, "dualrec")
    with logged_progress(7, "requests") as counter:
        ray.get([counter.add.remote(3), counter.add.remote(4)])
        for _ in range(100):
            if "7 of 7 requests" in caplog.text:
                break
            progress.time.sleep(0.1)
    assert "7 of 7 requests" in caplog.text
