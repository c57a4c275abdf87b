"""What `fit-baselines` and `evaluate` cannot do is told before Ray is started, and leaves nothing
behind."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualrec.config.settings import Settings, overridden
from dualrec.errors import (
    AssetError,
    DualrecError,
    EndpointError,
    InputError,
    SettingsError,
    WorkspaceError,
)
from dualrec.evaluation.evaluate import evaluate
from dualrec.evaluation.fitting import baseline_name, fit_baselines
from dualrec.evaluation.lists import LISTS
from dualrec.sequence.artifact import sequence_name
from tests.prepared import VERSION, assert_refused, write_empty, write_prepared

SettingsFor = Callable[..., Settings]


@pytest.fixture
def fitted(settings_for: SettingsFor, tmp_path: Path) -> Settings:
    """Settings over ten test users, a sequence model and the baselines that always stand in the
    table."""
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder/config.json").write_text("{}")
    settings = settings_for(f"rerank.model={tmp_path / 'encoder'}", "evaluation.language=false")
    data = write_prepared(settings, {"train": [9], "validation": [9], "test": [9] * 10})
    names = [baseline_name(name, data, settings) for name in ("Random", "MostPop")]
    write_empty(settings, sequence_name(data, settings), *names)
    return settings


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        (["baselines.systems=[SASRek]"], SettingsError, "there is no SASRek; there are Random"),
        (["rerank.model=minilm"], AssetError, "'minilm' is no known model"),
    ],
)
def test_what_cannot_be_fitted_is_told_before_ray_starts(
    fitted: Settings, no_ray: None, overrides: list[str], error: type[DualrecError], said: str
) -> None:
    another_budget = "baselines.trials=1"  # so that nothing is fitted yet
    assert_refused(fit_baselines, overridden(fitted, [another_budget, *overrides]), error, said)


ASKED = "evaluation.language=true"
ENDPOINT = "language.model=deepseek-v3"


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        (["baselines.systems=[SASRek]"], SettingsError, "there is no SASRek"),
        (["baselines.systems=[SLIM]"], WorkspaceError, "dualrec fit-baselines"),
        (["evaluation.sequence_presets=[paper]"], WorkspaceError, "dualrec train-sequence"),
        (["sequence.hidden=[8,8]"], WorkspaceError, "dualrec train-sequence"),
        (["evaluation.lists={Other: nowhere.parquet}"], InputError, "no Parquet file of lists can be read there"),
        ([ASKED, "language.model=smollm3"], AssetError, "'smollm3' is no known model"),
        ([ASKED, "language.tuned=current"], WorkspaceError, "dualrec finetune-language"),
        ([ASKED, ENDPOINT], EndpointError, "OPENROUTER_API_KEY holds none"),
        ([ASKED, ENDPOINT, "baselines.systems=[NIR]"], SettingsError, "leave NIR out"),
        ([ASKED, "evaluation.variants=[{name: odd, set: {language.hints: 1}}]"], SettingsError, "evaluation.variants, odd"),
        (
            ["evaluation.protocols=[time_split]", "language.tuned=abc"],
            SettingsError,
            "may have learned from what time_split hides",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_told_before_ray_starts(
    fitted: Settings, no_ray: None, monkeypatch: pytest.MonkeyPatch,
    overrides: list[str], error: type[DualrecError], said: str,
) -> None:  # fmt: skip
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    assert_refused(evaluate, overridden(fitted, overrides), error, said)


def test_a_protocol_that_has_nobody_to_ask_is_told_before_ray_starts(
    settings_for: SettingsFor, no_ray: None
) -> None:
    settings = settings_for("evaluation.protocols=[last_five]", "evaluation.language=false")
    write_prepared(settings, {"train": [9], "validation": [9], "test": [5, 3]})
    assert_refused(
        evaluate,
        settings,
        InputError,
        "no test user has a history long enough for the protocol last_five",
    )


def test_faulty_lists_of_another_system_are_told_before_ray_starts(
    fitted: Settings, tmp_path: Path, no_ray: None
) -> None:
    users = range(2000, 2009)  # one of ten has none
    rows = [
        {"protocol": "next_item", "user_id": user, "rank": 1, "item_id": 1, "data_version": VERSION}
        for user in users
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=LISTS), tmp_path / "some.parquet")
    settings = overridden(fitted, [f"evaluation.lists={{Bad: {tmp_path / 'some.parquet'}}}"])
    assert_refused(evaluate, settings, InputError, "1 users have no list")
