from pathlib import Path

import pytest

from dualrec.config.settings import overridden
from dualrec.data.prepare import prepare, prepared
from dualrec.ranking.fusion import calibration_requests
from dualrec.storage.workspace import Workspace


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_every_decoding_is_weighed_on_the_same_seeded_sample_of_validation_users(
    movielens: Path, settings_for
) -> None:
    settings = settings_for(
        f"data.source={movielens}", "data.validation_fraction=0.25", "ranking.calibration_users=5"
    )
    prepare(settings)
    workspace = Workspace.of(settings)

    def users(*changes: str) -> set[int]:
        changed = overridden(settings, list(changes))
        requests = calibration_requests(workspace, prepared(workspace, changed), changed)
        assert requests is not None
        return {row["user_id"] for row in requests.iter_rows()}

    sample = users()
    assert len(sample) == 5
    assert sample == users("language.decoding=shortlist", "language.history_length=3")
    assert sample != users("ranking.seed=1")
