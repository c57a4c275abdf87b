"""A published night that can be served: six movies, a sequence model of random weights, and a few
users."""

from datetime import date

import pyarrow as pa

from dualrec.config.settings import PublishSettings, load_settings
from dualrec.publishing.publish import publication_count, publish
from dualrec.storage.workspace import Workspace
from tests.conftest import histories_table
from tests.sequence.untrained import write_untrained
from tests.staged import NIGHT, stage

LISTED, UNLISTED = range(1, 7), {20: [3, 4], 21: []}
SEQUENCE = load_settings(
    None, ["sequence.preset=paper", "sequence.hidden=[16,8]", "sequence.dense=8"]
).sequence


def write_models(
    workspace: Workspace, catalog: pa.Table, version: str = "v1", seed: int = 0
) -> None:
    """A catalog, histories and a sequence model, all of one version."""
    with workspace.writing(f"catalog/{version}", {"dataset": "made up"}) as folder:
        workspace.write_table(catalog, f"{folder}/part-0.parquet")
    histories = histories_table({**{user: [1, 2] for user in LISTED}, **UNLISTED}, "test")
    with workspace.writing(f"histories/{version}", {}) as folder:
        workspace.filesystem.create_dir(f"{folder}/split=test")
        workspace.write_table(histories, f"{folder}/split=test/part-0.parquet")
    write_untrained(workspace, f"models/sequence/{version}", catalog, SEQUENCE, seed)


def publish_night(
    workspace: Workspace, run_id: str, run_date: date = NIGHT, version: str = "v1"
) -> None:
    """Publish lists whose titles are the run's id, made by the models of a version."""
    models = {
        "sequence": f"models/sequence/{version}",
        "data": version,
        "histories": f"histories/{version}",
    }
    night = stage(workspace, run_id, run_date).model_copy(update={"models": models})
    publish(workspace, night, publication_count(workspace, run_date), PublishSettings())
