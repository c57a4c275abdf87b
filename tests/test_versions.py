"""What decides the content of lists, answers, models and reports, and therefore their versions:
nothing of it is missed."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from dualrec.config.settings import Settings, load_settings, overridden
from dualrec.data import prepare as preparing
from dualrec.data.prepare import Prepared
from dualrec.evaluation.cases import Questions
from dualrec.evaluation.evaluate import report_name
from dualrec.evaluation.fitting import baseline_name
from dualrec.evaluation.predictions import predictions_name
from dualrec.evaluation.protocols import Cases
from dualrec.language.artifact import language_name, tuned_name
from dualrec.language.models import LanguageModel
from dualrec.nightly import plan
from dualrec.nightly.plan import lists_version
from dualrec.ranking.fusion import fusion_name
from dualrec.ranking.recommend import run_of
from dualrec.scoring.pipeline import scoring_version
from dualrec.sequence.artifact import sequence_name
from dualrec.storage.workspace import Workspace

CASES = Cases(np.array([1]), [np.array([1])], [np.array([2])])

Version = Callable[[Prepared, Settings], str]


def _predictions(data: Prepared, settings: Settings) -> str:
    return predictions_name(Questions(data, settings, {"next_item": CASES}, {}, "v"))


def _baseline(data: Prepared, settings: Settings) -> str:
    return baseline_name("SKNN", data, settings)


ANSWERED: dict[str, Version] = {
    "scoring": scoring_version,
    "recommend": run_of,
    "nightly": lists_version,
    "predictions": _predictions,
    "weight": fusion_name,
    "report": report_name,
}
TUNED: dict[str, Version] = {"fine-tuning": language_name}
ALL = ANSWERED | TUNED | {"sequence": sequence_name, "baseline": _baseline}

FITTED = {"sequence", *ANSWERED, *TUNED}
METHODS = {
    "dualrec.sequence.artifact": FITTED,
    "dualrec.language.artifact": {"fine-tuning"},
    "dualrec.scoring.pipeline": set(ANSWERED),
    "dualrec.ranking.lists": {"recommend", "nightly", "weight", "report"},
    "dualrec.evaluation.predictions": {"predictions", "report"},
    "dualrec.evaluation.evaluate": {"report"},
    "dualrec.evaluation.fitting": {"baseline", "report"},
}


@pytest.fixture
def data(catalog: pa.Table) -> Prepared:
    """Histories of which only the version matters."""
    return Prepared(version="v", dataset="d", catalog=catalog, histories="h")


def _model(folder: Path) -> Path:
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"):
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A language model and a sentence encoder in folders."""
    folders = (f"{key}={_model(tmp_path / key)}" for key in ("language.model", "rerank.model"))
    return load_settings(None, [f"cache={tmp_path / 'cache'}", *folders])


def _changed(data: Prepared, settings: Settings, change: Callable[[], object]) -> set[str]:
    before = {name: version(data, settings) for name, version in ALL.items()}
    assert before == {name: version(data, settings) for name, version in ALL.items()}
    change()
    return {name for name, version in ALL.items() if version(data, settings) != before[name]}


def _respelt(monkeypatch: pytest.MonkeyPatch, target: str) -> Callable[[], None]:
    """Let a function that writes messages say one word more."""
    module, _, name = target.rpartition(".")
    original = getattr(__import__(module, fromlist=[name]), name)

    def another(*arguments: object) -> list[dict[str, str]]:
        messages = original(*arguments)
        return [*messages[:-1], {**messages[-1], "content": f"{messages[-1]['content']} Please."}]

    return lambda: monkeypatch.setattr(target, another)


@pytest.mark.parametrize(
    ("change", "function"),
    [
        ([], "titles_prompt"),
        (["language.prompt=paper"], "paper_prompt"),
        (["language.mode=rank"], "rank_prompt"),
    ],
)
def test_another_text_of_the_prompt_makes_another_version_of_what_rests_on_it(
    data: Prepared,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    change: list[str],
    function: str,
) -> None:
    own = load_settings(
        None, [f"language.model={settings.language.model}", f"cache={settings.cache}", *change]
    )
    respell = _respelt(monkeypatch, f"dualrec.language.prompts.texts.{function}")
    assert _changed(data, own, respell) == set(ANSWERED | TUNED)


def test_a_prompt_that_these_settings_do_not_write_makes_no_other_version(
    data: Prepared, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not _changed(
        data, settings, _respelt(monkeypatch, "dualrec.language.prompts.texts.rank_prompt")
    )


def test_another_guard_against_marks_in_titles_makes_another_version(
    data: Prepared, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        monkeypatch.setattr(
            "dualrec.language.prompts.texts.escape_special_tokens", lambda titles: titles
        )

    assert _changed(data, settings, change) == set(ANSWERED | TUNED)


def test_another_grammar_makes_another_version_of_answers_from_a_shortlist(
    data: Prepared, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings.model_copy(
        update={"language": settings.language.model_copy(update={"decoding": "shortlist"})}
    )
    name = "dualrec.language.shortlist.shortlist_grammar"
    assert _changed(data, own, lambda: monkeypatch.setattr(name, lambda *_: "another")) == set(
        ANSWERED
    )


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_a_replaced_language_model_under_the_same_path_makes_another_version(
    data: Prepared, settings: Settings, file: str
) -> None:
    replace = lambda: Path(settings.language.model, file).write_text("[]")  # noqa: E731
    assert _changed(data, settings, replace) == set(ANSWERED | TUNED)


def test_a_replaced_sentence_encoder_under_the_same_path_makes_another_version(
    data: Prepared, settings: Settings
) -> None:
    replace = lambda: Path(settings.rerank.model, "model.safetensors").write_text("[]")  # noqa: E731
    assert _changed(data, settings, replace) == {*ANSWERED, "baseline"}


def test_the_same_model_at_another_path_makes_the_same_version(
    data: Prepared, settings: Settings
) -> None:
    moved = Path(settings.language.model).rename(Path(settings.language.model).with_name("moved"))
    other = settings.model_copy(
        update={"language": settings.language.model_copy(update={"model": str(moved)})}
    )
    Path(settings.language.model).symlink_to(moved)
    for name, version in ALL.items():
        assert version(data, other) == version(data, settings), name


def test_what_a_model_is_served_with_makes_another_version(
    data: Prepared, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = LanguageModel(stop=("END",))
    change = lambda: monkeypatch.setitem(  # noqa: E731
        __import__("dualrec.language.models", fromlist=["PRESETS"]).PRESETS,
        settings.language.model,
        preset,
    )
    assert _changed(data, settings, change) == set(ANSWERED | TUNED)


def test_a_model_at_an_endpoint_has_its_name(data: Prepared) -> None:
    names = (
        ["language.model=deepseek-v3"],
        ["language.model=deepseek-v3", "language.endpoint.model=other"],
    )
    one, other = (scoring_version(data, load_settings(None, overrides)) for overrides in names)
    assert one != other


@pytest.mark.parametrize("module", METHODS)
def test_another_method_makes_another_version_of_what_rests_on_it(
    data: Prepared, settings: Settings, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    assert (
        _changed(data, settings, lambda: monkeypatch.setattr(f"{module}.METHOD", 99))
        == METHODS[module]
    )


def test_another_method_of_fine_tuning_makes_other_answers_where_its_model_is_served(
    data: Prepared, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings.model_copy(
        update={"language": settings.language.model_copy(update={"tuned": "current"})}
    )
    change = lambda: monkeypatch.setattr("dualrec.language.artifact.METHOD", 2)  # noqa: E731
    assert tuned_name(data, own) == language_name(data, own)
    assert _changed(data, own, change) == set(ANSWERED | TUNED)


def test_another_method_of_preparing_makes_other_histories(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = preparing.data_settings_version(settings)
    monkeypatch.setattr(preparing, "METHOD", 2)
    assert preparing.data_settings_version(settings) != before


def test_the_text_of_nirs_prompts_makes_another_report_where_it_is_measured(
    data: Prepared, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems = settings.baselines.model_copy(update={"systems": ("NIR",)})
    measured = settings.model_copy(update={"baselines": systems})
    unmeasured = settings.model_copy(
        update={"baselines": systems.model_copy(update={"systems": ("SKNN",)})}
    )
    respell = _respelt(monkeypatch, "dualrec.baselines.nir.step_messages")
    before = report_name(data, measured), report_name(data, unmeasured)
    respell()
    after = report_name(data, measured), report_name(data, unmeasured)
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True]


def test_what_variants_and_other_systems_lists_hold_makes_another_report(
    data: Prepared, settings: Settings, tmp_path: Path
) -> None:
    lists, model = tmp_path / "lists.parquet", _model(tmp_path / "variant")
    lists.write_text("one")
    variant = {"name": "other model", "set": {"language.model": str(model)}}
    changes = [
        f"evaluation.variants=[{json.dumps(variant)}]",
        f"evaluation.lists={{Other: {lists}}}",
    ]
    measured, versions = overridden(settings, changes), []
    for path in (None, lists, model / "model.safetensors"):
        if path:
            path.write_text("two")
        versions.append(report_name(data, measured))
    assert len(set(versions)) == 3


@pytest.mark.parametrize("change", [None, "prompt", "weights", "METHOD"])
def test_a_night_carries_nobody_over_that_other_models_prompts_or_methods_served(
    data: Prepared,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str | None,
) -> None:
    previous = SimpleNamespace(
        run_date=date(2026, 11, 1), number=1, settings_hash=lists_version(data, settings)
    )
    monkeypatch.setattr(plan, "select_models", lambda *_: data.version)
    monkeypatch.setattr(plan, "prepare_for_models", lambda *_: data)
    monkeypatch.setattr(plan, "latest_manifest", lambda *_, **__: previous)
    if change == "prompt":
        _respelt(monkeypatch, "dualrec.language.prompts.texts.titles_prompt")()
    elif change == "weights":
        Path(settings.language.model, "model.safetensors").write_text("[]")
    elif change == "METHOD":
        monkeypatch.setattr("dualrec.scoring.pipeline.METHOD", 2)
    lease = SimpleNamespace(check=lambda: None)
    created = plan.load_or_create_plan(
        Workspace(str(tmp_path / "ws")), settings, date(2026, 11, 2), False, lease
    )  # type: ignore[arg-type]
    assert created.carries is (change is None)
