"""What a run cannot do is said before Ray is started and before a driver takes the lease; a plan is
never changed."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from dualrec.config.settings import Settings
from dualrec.errors import AssetError, DualrecError, EndpointError, SettingsError, WorkspaceError
from dualrec.nightly.active_models import training_is_due
from dualrec.nightly.nightly import nightly
from dualrec.nightly.plan import Plan, check_nightly, latest_plan, write_plan
from dualrec.sequence.artifact import sequence_name
from dualrec.storage.workspace import Workspace
from tests.prepared import write_prepared

SettingsFor = Callable[..., Settings]
NIGHT = date(2026, 11, 1)


def plan_number(number: int, settings_hash: str = "abcdef012345") -> Plan:
    """Build the plan of a run."""
    return Plan(
        run_date=NIGHT,
        number=number,
        settings_hash=settings_hash,
        data_version="d",
        histories="histories/d",
        split="all",
        previous=None,
        carries=False,
        replaces=0,
    )


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        (["language.model=smollm3"], AssetError, "'smollm3' is no known model"),
        (
            ["language.model=smollm3", "language.tuned=current"],
            AssetError,
            "'smollm3' is no known model",
        ),
        (["rerank.model=minilm"], AssetError, "'minilm' is no known model"),
        (["language.model=deepseek-v3"], EndpointError, "OPENROUTER_API_KEY holds none"),
        (
            ["language.model=deepseek-v3", "language.tuned=current"],
            SettingsError,
            r"set language\.tuned=null",
        ),
        (
            ["language.model=deepseek-v3", "language.decoding=shortlist"],
            SettingsError,
            r"language\.decoding=free",
        ),
        (
            ["language.mode=rank", "sequence.top_k=19"],
            SettingsError,
            r"exceeds sequence\.top_k \(19\)",
        ),
        (["recommend.trace_salt_env=NO_SALT"], SettingsError, "NO_SALT is not set"),
    ],
)
def test_what_a_night_cannot_do_is_told_before_ray_starts(
    settings_for: SettingsFor,
    no_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    error: type[DualrecError],
    said: str,
) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    settings = settings_for(*overrides)
    with pytest.raises(error, match=said):
        nightly(settings)
    assert not Path(settings.workspace).exists()


def test_models_that_only_a_node_can_have_are_left_to_it(
    settings_for: SettingsFor, no_ray: None
) -> None:
    settings = settings_for("language.model=s3://bucket/model", "language.tuned=current")
    elsewhere = check_nightly(Workspace(settings.workspace), settings, NIGHT, force=False)
    assert {place.source for place in elsewhere} == {"all-minilm-l6-v2", "s3://bucket/model"}


@pytest.mark.parametrize("module", [None, "dualrec.data.prepare", "dualrec.sequence.artifact"])
def test_models_of_an_older_method_are_trained_anew(
    settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch, module: str | None
) -> None:
    settings = settings_for("nightly.model_days=null")
    workspace, data = Workspace(settings.workspace), write_prepared(settings, {"train": [9] * 3})
    with workspace.writing(sequence_name(data, settings), {"data_version": data.version}):
        pass
    if module:
        monkeypatch.setattr(f"{module}.METHOD", 99)
    assert training_is_due(workspace, settings, NIGHT) is (module is not None)


def test_the_last_plan_counts_and_a_plan_is_never_changed(place: str) -> None:
    workspace = Workspace(place)
    assert latest_plan(workspace, NIGHT) is None
    write_plan(workspace, plan_number(1))
    write_plan(workspace, plan_number(1))  # whose first answer was lost
    with pytest.raises(WorkspaceError, match="written by another driver"):
        write_plan(workspace, plan_number(1, "another00000"))
    write_plan(workspace, plan_number(2))
    assert latest_plan(workspace, NIGHT) == plan_number(2)
    assert latest_plan(workspace, date(2026, 11, 2)) is None


def test_a_broken_plan_is_named(place: str) -> None:
    workspace = Workspace(place)
    workspace.write_bytes(f"nightly/run_date={NIGHT}/plans/0001.json", b"{}")
    with pytest.raises(WorkspaceError, match="plans/0001.json is no plan"):
        latest_plan(workspace, NIGHT)
