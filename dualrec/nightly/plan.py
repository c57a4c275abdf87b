"""What a night's run is: fixed by its first driver, so that whoever goes on with it goes on with
the same work.

nightly/run_date=D/
    plans/NUMBER.json       one run each; the last one counts, and --force begins another
    attempts/NUMBER.json    one driver each (lease.py)
    scored-RUN/             the traces that were scored so far (staging.py)

Knows names and versions; no models, no Ray.
"""

import re
from datetime import date
from pathlib import PurePosixPath
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from dualrec.errors import WorkspaceError
from dualrec.storage.workspace import Workspace

NIGHTLY = "nightly"

_NUMBERED = re.compile(r"(\d{4})\.json")


class Publication(BaseModel):
    """A published night, as its manifest is numbered."""

    model_config = ConfigDict(frozen=True)

    run_date: date
    number: int


class Plan(BaseModel):
    """A run.

    Attributes:
        number: counts the runs of this date from 1.
        run_id: its name, in the published table and everywhere.
        settings_hash: what its lists rest on but the histories: two nights of one hash give a user
            with one history one list.
        data_version: that of the data which its models were trained on.
        histories: the artifact with the histories to be served.
        split: whose.
        before: the night before; None where there is none.
        carries: whether users with an unchanged history keep their list of the night before.
        replaces: how often this night was published when the run began.
    """

    model_config = ConfigDict(frozen=True)

    run_date: date
    number: int
    settings_hash: str
    data_version: str
    histories: str
    split: str
    before: Publication | None
    carries: bool
    replaces: int

    @property
    def run_id(self) -> str:
        """The run's name: letters, digits and -."""
        return f"{self.number:04d}-{self.settings_hash}"


class Numbered(NamedTuple):
    """A numbered file of a folder."""

    number: int
    name: str


def night_place(run_date: date) -> str:
    """Where the nightly job keeps what it must know of one night."""
    return f"{NIGHTLY}/run_date={run_date}"


def numbered(workspace: Workspace, folder: str) -> list[Numbered]:
    """The files NUMBER.json of a folder, in the order of their numbers."""
    names = [workspace.name_of(info.path) for info in workspace.files(folder)]
    found = [
        (match, name) for name in names if (match := _NUMBERED.fullmatch(PurePosixPath(name).name))
    ]
    return sorted(Numbered(int(match[1]), name) for match, name in found)


def last_plan(workspace: Workspace, run_date: date) -> Plan | None:
    """The run that counts for a night; None where none was begun.

    Raises:
        WorkspaceError: it cannot be read.
    """
    plans = numbered(workspace, f"{night_place(run_date)}/plans")
    if not plans:
        return None
    try:
        return Plan.model_validate_json(workspace.read_bytes(plans[-1].name))
    except ValidationError as error:
        raise WorkspaceError(
            f"{workspace.uri}/{plans[-1].name} is no plan of a run: delete it, and run the night again"
        ) from error


def write_plan(workspace: Workspace, plan: Plan) -> None:
    """Fix a run.

    Raises:
        WorkspaceError: it cannot be written, or another run has its number.
    """
    name = f"{night_place(plan.run_date)}/plans/{plan.number:04d}.json"
    if not workspace.put_once(name, plan.model_dump_json(indent=2).encode()):
        raise WorkspaceError(
            f"{workspace.uri}/{name} was written by another driver at this moment: run the job again"
        )
