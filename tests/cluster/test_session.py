"""What went wrong in a worker comes out of the session as one line with what to do."""

from typing import Any

import pytest

from dualrec.cluster.session import raise_user_errors
from dualrec.errors import WorkspaceError

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    ("said", "way_out"),
    [
        (
            "When reading 'x': AWS Error UNKNOWN (HTTP status 400) during HeadObject operation: "
            "No response body",
            "AWS credentials",
        ),
        (
            "When writing 'x': AWS Error SLOW_DOWN during PutObject operation: Please slow down",
            "did not answer in time",
        ),
        (
            "[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device",
            "make room on the disk",
        ),
    ],
)  # fmt: skip
def test_a_store_that_fails_a_worker_is_told_with_what_to_do(
    ray_cluster: None, said: str, way_out: str
) -> None:
    import ray.data

    def fail(_: Any) -> Any:
        raise OSError(said)

    with (
        pytest.raises(
            WorkspaceError, match=f"a worker could not read or write: .*{way_out}"
        ) as caught,
        raise_user_errors(),
    ):
        ray.data.range(1).map_batches(fail).materialize()
    assert "Traceback" not in str(caught.value)


def test_another_error_of_a_worker_stays_itself(ray_cluster: None) -> None:
    import ray.data

    def fail(_: Any) -> Any:
        raise OSError("a file of something else")

    with (
        pytest.raises(ray.exceptions.RayTaskError, match="a file of something else"),
        raise_user_errors(),
    ):
        ray.data.range(1).map_batches(fail).materialize()
