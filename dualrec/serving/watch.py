"""Keeps the night that is served the one that stands: a new night, or a rollback, replaces it at
once and whole."""

import logging
from datetime import UTC, datetime

from dualrec.errors import PublishError
from dualrec.serving.night import Night, load_night, newest_publication
from dualrec.storage.workspace import Workspace

logger = logging.getLogger(__name__)


class NightWatch:
    """The night in force.

    Attributes:
        night: what is served; replaced by one assignment, so that whoever took it keeps a whole
            one.
        failure: why a newer night could not be loaded; None where the last look went well.
        looked: when the workspace was last looked at without a failure.

    Raises:
        PublishError: nothing was published yet.
        DualrecError: the night that stands cannot be read.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        standing = newest_publication(workspace)
        if standing is None:
            raise PublishError(
                f"{workspace.uri} holds no published night: run `dualrec nightly` first"
            )
        self.night: Night = load_night(workspace, *standing)
        self.failure: str | None = None
        self.looked = datetime.now(UTC)

    def look(self) -> bool:
        """Load what stands now, if it is another night; on a failure the one in force stays. Says
        whether it changed."""
        serving = self.night.publication
        try:
            standing = newest_publication(self.workspace)
            changed = standing is not None and standing != (serving.run_date, serving.number)
            if standing is not None and changed:
                self.night = load_night(self.workspace, *standing)
                logger.info(f"serving the night of {standing[0]}, number {standing[1]}")
        except Exception as error:  # noqa: BLE001  whatever a broken night raises, the one in force goes on
            self.failure = f"{type(error).__name__}: {error}"
            logger.warning(
                f"a newer night cannot be loaded, the one of {serving.run_date} stays: {self.failure}"
            )
            return False
        self.failure, self.looked = None, datetime.now(UTC)
        return changed
