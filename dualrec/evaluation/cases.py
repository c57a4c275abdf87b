"""What is asked, of which data: the cases of every protocol, on the whole histories and on those
before a moment."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from dualrec.config.settings import Settings, overridden
from dualrec.data.prepare import Prepared, prepared
from dualrec.data.splits import SPLITS
from dualrec.errors import InputError, SettingsError
from dualrec.evaluation.protocols import (
    COLD_USERS,
    DESCRIPTIONS,
    Cases,
    cut_cases,
    moment_of,
    sampled,
    time_cases,
    with_candidates,
)
from dualrec.storage.schemas import HISTORIES
from dualrec.storage.workspace import Workspace


@dataclass
class Questions:
    """Protocols that rest on the same data, and so on the same fitted models.

    Attributes:
        settings: those that the models were made with; `data.until` is set for the time split.
        asked: protocol to its cases.
        descriptions: protocol to what it hides, in words.
        truth_version: the version of the histories that what is hidden was taken from.
        counts: protocol to what else a reader should know of its cases.
    """

    data: Prepared
    settings: Settings
    asked: dict[str, Cases]
    descriptions: dict[str, str]
    truth_version: str
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def before_a_moment(self) -> bool:
        """Whether these are of the time split."""
        return self.settings.data.until is not None

    @property
    def variant_protocols(self) -> set[str]:
        """The protocols under which variants are measured too."""
        return {name for name in self.asked if name in self.settings.evaluation.variant_protocols}


def questions(workspace: Workspace, settings: Settings) -> Iterator[Questions]:
    """All protocols of the settings, those on the same data together.

    Raises:
        WorkspaceError: there are no histories, or none of those before the moment of the time
            split.
        InputError: a protocol has nobody to ask.
    """
    wanted = settings.evaluation.protocols
    if any(protocol != "time_split" for protocol in wanted):
        yield questions_of_test_users(workspace, settings)
    if "time_split" in wanted:
        yield _of_the_time_split(workspace, settings)


def settings_before(workspace: Workspace, settings: Settings) -> Settings:
    """The settings under which nothing is read that the time split hides.

    Raises:
        WorkspaceError: there are no histories.
        SettingsError: a language model is named by its version, which may have seen what is hidden.
    """
    check_what_the_moment_hides(settings)
    whole = _histories(workspace, prepared(workspace, settings), SPLITS, ["user_id", "timestamps"])
    return overridden(
        settings, [f"data.until={moment_of(whole, settings.evaluation.time_split_share)}"]
    )


def check_what_the_moment_hides(settings: Settings) -> None:
    """Raise a SettingsError where a language model is named by its version, which may have seen
    what is hidden."""
    if settings.language.tuned not in (None, "current"):
        raise SettingsError(
            f"language.tuned={settings.language.tuned} may have learned from what time_split hides: set it to current or "
            "null, or leave time_split out of evaluation.protocols"
        )


def questions_of_test_users(workspace: Workspace, settings: Settings) -> Questions:
    """All protocols of the settings but the time split.

    Raises:
        WorkspaceError: there are no histories.
        InputError: a protocol has nobody to ask.
    """
    data, chosen = prepared(workspace, settings), settings.evaluation
    item_ids = data.catalog.column("item_id").to_numpy()
    histories = _histories(workspace, data, ("test",), ["user_id", "item_ids"])
    asked: dict[str, Cases] = {}
    for protocol in chosen.protocols:
        if protocol in ("last_five", "next_item"):
            asked[protocol] = sampled(
                cut_cases(histories, item_ids, protocol), chosen.max_users, chosen.seed
            )
        elif protocol == "candidates_20":
            cases = sampled(
                cut_cases(histories, item_ids, "next_item"), chosen.max_users, chosen.seed
            )
            seeds = range(chosen.seed, chosen.seed + chosen.candidate_seeds)
            asked[protocol] = with_candidates(cases, len(item_ids), seeds)
    for name, cases in asked.items():
        if not len(cases):
            raise InputError(
                f"no test user has a history long enough for the protocol {name}: bring more users"
            )
    described = {name: DESCRIPTIONS[name].format(seeds=chosen.candidate_seeds) for name in asked}
    return Questions(data, settings, asked, described, data.version)


def _of_the_time_split(workspace: Workspace, settings: Settings) -> Questions:
    before, chosen = settings_before(workspace, settings), settings.evaluation
    moment = before.data.until
    assert moment is not None
    data, until_now = prepared(workspace, before), prepared(workspace, settings)
    whole = _histories(workspace, until_now, SPLITS, ["user_id", "item_ids", "timestamps"])
    seen = _histories(workspace, data, SPLITS, ["user_id", "item_ids"])
    split = time_cases(seen, whole, data.catalog.column("item_id").to_numpy(), moment)
    asked = {"time_split": sampled(split.warm, chosen.max_users, chosen.seed)}
    if not len(split.warm):
        raise InputError(
            "no user has movies before and after the moment of time_split: change time_split_share"
        )
    if len(split.cold):
        asked[COLD_USERS] = sampled(split.cold, chosen.max_users, chosen.seed)
    counts = {
        "users with a history": len(split.warm),
        "cold users": len(split.cold),
        "cold items among the hidden": split.cold_items,
        "users left out, all of whose hidden movies are cold": split.only_cold_items,
    }
    when = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")
    described = {name: DESCRIPTIONS[name].format(moment=when) for name in asked}
    return Questions(data, before, asked, described, until_now.version, {"time_split": counts})


def _histories(
    workspace: Workspace, data: Prepared, splits: tuple[str, ...], columns: list[str]
) -> pa.Table:
    tables = [
        workspace.read_table(
            f"{workspace.content(data.histories)}/split={split}", HISTORIES, columns
        )
        for split in splits
    ]
    return pa.concat_tables(tables)
