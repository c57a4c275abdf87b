"""What a later step of `run` or `benchmark` would say is told before the first one begins."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dualrec.config.settings import Settings
from dualrec.data.prepare import prepared
from dualrec.errors import AssetError, DualrecError, EndpointError, InputError, SettingsError
from dualrec.evaluation.evaluate import report_name
from dualrec.pipeline.benchmark import benchmark
from dualrec.pipeline.checks import check_prepared, check_steps
from dualrec.pipeline.run import run
from dualrec.storage.workspace import Workspace
from tests.language.tiny_models import write_model
from tests.prepared import write_empty, write_prepared

SettingsFor = Callable[..., Settings]
TYPO = "smolm2-135m"
VARIANT = (
    f"evaluation.variants=[{{name: other, set: {{language.model: {TYPO}, language.tuned: null}}}}]"
)
TUNED_VARIANT = (
    "evaluation.variants=[{name: other, set: "
    f"{{language.model: {TYPO}, language.tuned: current}}}}]"
)


@pytest.mark.parametrize("job", [run, benchmark])
@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        ([f"language.model={TYPO}"], AssetError, f"'{TYPO}' is no known model"),
        (
            [f"language.model={TYPO}", "language.tuned=current"],
            AssetError,
            f"'{TYPO}' is no known model",
        ),
        (["rerank.model=minilm"], AssetError, "'minilm' is no known model"),
        ([VARIANT], AssetError, f"'{TYPO}' is no known model"),
        (
            ["evaluation.variants=[{name: odd, set: {language.hints: 1}}]"],
            SettingsError,
            "evaluation.variants, odd",
        ),
        (["baselines.systems=[SASRek]"], SettingsError, "there is no SASRek"),
        (["baselines.systems=[NIR]", "language.model=deepseek-v3"], SettingsError, "leave NIR out"),
        (["language.model=deepseek-v3"], EndpointError, "OPENROUTER_API_KEY holds none"),
        (
            ["language.model=deepseek-v3", "language.tuned=current"],
            SettingsError,
            r"set language\.tuned=null",
        ),
        (
            ["language.tuned=abc", "evaluation.protocols=[time_split]"],
            SettingsError,
            "may have learned from what",
        ),
        (["recommend.trace_salt_env=NO_SALT"], SettingsError, "NO_SALT is not set"),
    ],
)
def test_what_a_later_step_cannot_do_is_told_before_the_first_begins(
    settings_for: SettingsFor,
    no_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    job: Callable[[Settings], object],
    overrides: list[str],
    error: type[DualrecError],
    said: str,
) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    settings = settings_for(*overrides)
    with pytest.raises(error, match=said):
        job(settings)
    assert not Path(settings.workspace).exists()


@pytest.mark.parametrize("job", [run, benchmark])
@pytest.mark.parametrize("tuned", ["null", "current"])
def test_prompts_that_cannot_fit_are_told_before_the_first_step_begins(
    settings_for: SettingsFor,
    tmp_path: Path,
    no_ray: None,
    job: Callable[[Settings], object],
    tuned: str,
) -> None:
    model = write_model(tmp_path / "model", "qwen2")
    own = [f"language.model={model}", f"rerank.model={model}", f"language.tuned={tuned}"]
    with pytest.raises(
        DualrecError, match=r"a prompt without any movie does not fit.*language\.max_prompt_tokens"
    ):
        job(settings_for(*own, "language.max_prompt_tokens=64"))


def test_a_variant_that_is_fine_tuned_is_looked_at_too(
    settings_for: SettingsFor, no_ray: None
) -> None:
    with pytest.raises(AssetError, match=f"'{TYPO}' is no known model"):
        benchmark(settings_for(TUNED_VARIANT))


def test_what_needs_no_language_model_is_not_kept_from_running_by_one(
    settings_for: SettingsFor, no_ray: None
) -> None:
    settings = settings_for(
        f"language.model={TYPO}", "evaluation.language=false", VARIANT, "baselines.systems=[all]"
    )
    assert check_steps(settings, [], serves=False, force=False) == []


def test_what_is_there_already_is_not_looked_for(settings_for: SettingsFor, no_ray: None) -> None:
    settings = settings_for(f"language.model={TYPO}")
    data = write_prepared(settings, {"train": [9], "validation": [9], "test": [9]})
    write_empty(settings, report_name(data, settings))
    assert check_steps(settings, [settings], serves=True, force=False) == []
    with pytest.raises(AssetError, match=TYPO):
        check_steps(settings, [settings], serves=True, force=True)


def test_models_that_only_a_node_can_have_are_left_to_it(
    settings_for: SettingsFor, no_ray: None
) -> None:
    settings = settings_for("language.model=s3://bucket/model", "language.tuned=current")
    elsewhere = check_steps(settings, [settings], serves=True, force=False)
    assert {place.source for place in elsewhere} == {"all-minilm-l6-v2", "s3://bucket/model"}


def test_too_few_examples_are_told_before_the_sequence_model_is_trained(
    settings_for: SettingsFor, tmp_path: Path, no_ray: None
) -> None:
    model = write_model(tmp_path / "model", "qwen2")
    room = ["language.max_prompt_tokens=700", "finetune.max_tokens=800"]
    settings = settings_for(f"language.model={model}", *room)
    write_prepared(settings, {"train": [5, 5, 5], "validation": [9]})
    assert prepared(Workspace(settings.workspace), settings).dataset == "constructed"
    check_prepared(settings, [], force=False)
    with pytest.raises(InputError, match="there are 6 training examples, and one step takes 16"):
        check_prepared(settings, [settings], force=False)
