"""What fine-tuning and scoring cannot do is told before Ray is started, and changes nothing in the
workspace."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dualrec.assets.here import folder_here
from dualrec.assets.nodes import ModelPlace
from dualrec.config.settings import Settings, overridden
from dualrec.errors import (
    AssetError,
    DualrecError,
    EndpointError,
    InputError,
    SettingsError,
    WorkspaceError,
)
from dualrec.language.checks import check_serving, check_tuning
from dualrec.language.finetune import finetune_language
from dualrec.ranking.recommend import recommend
from dualrec.sequence.artifact import sequence_name
from dualrec.storage.workspace import Workspace
from tests.fake_endpoint import fake_endpoint
from tests.language.tiny_models import CHAT_TEMPLATE, write_model
from tests.prepared import assert_refused, write_empty, write_prepared

SettingsFor = Callable[..., Settings]
LENGTHS = {"train": [9] * 40, "validation": [9] * 10, "test": [9] * 10}
ROOM = (
    "language.max_prompt_tokens=700",
    "finetune.max_tokens=800",
)  # a token a byte: prompts are long


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole language model, which serves as a sentence encoder too as long as
    nothing is loaded."""
    return write_model(tmp_path_factory.mktemp("models") / "whole", "qwen2")


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


@pytest.fixture
def trained(settings_for: SettingsFor, whole: Path) -> SettingsFor:
    """Settings over histories and a sequence model, with a whole language model unless another is
    named."""

    def make(*overrides: str) -> Settings:
        settings = settings_for(
            f"language.model={whole}", f"rerank.model={whole}", *ROOM, *overrides
        )
        data = write_prepared(settings, LENGTHS)
        write_empty(settings, sequence_name(data, settings))
        return settings

    return make


TUNING: list[tuple[list[str], type[DualrecError], str]] = [
    (
        ["finetune.max_examples=5"],
        InputError,
        r"there are 5 training examples, and one step takes 16",
    ),
    (
        ["finetune.batch_size=400"],
        InputError,
        r"there are 160 training examples, and one step takes 400",
    ),
    (
        ["language.titles=6", "finetune.batch_size=8"],
        InputError,
        r"no validation user has 12 movies",
    ),
    (["finetune.max_tokens=64"], InputError, r"finetune\.max_tokens \(64\)"),
    (
        ["language.mode=rank", "finetune.max_tokens=300"],
        InputError,
        r"fewer language\.rank_candidates",
    ),
    (["finetune.target_modules=[q_proj, c_attn]"], SettingsError, r"'c_attn'.*match no layer"),
    (["language.model=smollm3"], AssetError, "'smollm3' is no known model"),
    (["language.model=deepseek-v3"], SettingsError, "so there are no weights to tune"),
    (["language.mode=rank", "sequence.top_k=19"], SettingsError, r"exceeds sequence\.top_k \(19\)"),
]


@pytest.mark.parametrize(("overrides", "error", "said"), TUNING)
def test_what_cannot_be_fine_tuned_is_told_before_ray_starts(
    trained: SettingsFor, no_ray: None, overrides: list[str], error: type[DualrecError], said: str
) -> None:
    assert_refused(finetune_language, trained(*overrides), error, said)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", "holds no weights"),
        ("tokenizer.json", "holds no tokenizer"),
        ("config.json", "holds no config"),
    ],
)
def test_a_model_folder_must_be_whole(
    trained: SettingsFor, model: Path, no_ray: None, missing: str, message: str
) -> None:
    (model / missing).unlink()
    assert_refused(finetune_language, trained(f"language.model={model}"), AssetError, message)


def _without_template(model: Path) -> None:
    (model / "chat_template.jinja").unlink()


def _without_end_token(model: Path) -> None:
    path = model / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": None}))


def _without_c(model: Path) -> None:
    path = model / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    del tokenizer["model"]["vocab"]["C"]
    path.write_text(json.dumps(tokenizer))


def _with_a_template_that_fails(model: Path) -> None:
    (model / "chat_template.jinja").write_text(CHAT_TEMPLATE + "{{ messages[0]['content'] + 1 }}")


FAULTS: list[tuple[Callable[[Path], None], list[str], type[DualrecError], str]] = [
    (_without_template, [], AssetError, "no chat template"),
    (_with_a_template_that_fails, [], AssetError, "chat template makes no prompt"),
    (_without_c, ["language.mode=rank"], SettingsError, r"none for 'C'.*Rank at most 2 items"),
]


@pytest.mark.parametrize(
    ("spoil", "overrides", "error", "said"),
    [*FAULTS, (_without_end_token, [], AssetError, "no end token")],
)
def test_a_tokenizer_that_cannot_teach_is_told_before_ray_starts(
    trained: SettingsFor,
    model: Path,
    no_ray: None,
    spoil: Callable[[Path], None],
    overrides: list[str],
    error: type[DualrecError],
    said: str,
) -> None:
    spoil(model)
    assert_refused(finetune_language, trained(f"language.model={model}", *overrides), error, said)


@pytest.mark.parametrize(("spoil", "overrides", "error", "said"), FAULTS)
def test_a_tokenizer_that_cannot_serve_is_told_before_ray_starts(
    trained: SettingsFor,
    model: Path,
    no_ray: None,
    spoil: Callable[[Path], None],
    overrides: list[str],
    error: type[DualrecError],
    said: str,
) -> None:
    spoil(model)
    assert_refused(recommend, trained(f"language.model={model}", *overrides), error, said)


SERVING: list[tuple[list[str], type[DualrecError], str]] = [
    (["language.model=smollm3"], AssetError, "'smollm3' is no known model"),
    (["rerank.model=minilm"], AssetError, "'minilm' is no known model"),
    (["sequence.hidden=[8,8]"], WorkspaceError, "run `dualrec train-sequence` first"),
    (["language.tuned=current"], WorkspaceError, "run `dualrec finetune-language` first"),
    (["language.mode=rank", "sequence.top_k=19"], SettingsError, r"exceeds sequence\.top_k \(19\)"),
    (
        ["language.max_prompt_tokens=64"],
        SettingsError,
        r"takes \d+ tokens without any movie.*raise language\.max_prompt",
    ),
    (
        ["language.mode=rank", "language.max_prompt_tokens=300"],
        SettingsError,
        r"rank fewer language\.rank_candidates",
    ),
    (
        ["language.model=deepseek-v3", "language.decoding=shortlist"],
        SettingsError,
        r"set language\.decoding=free",
    ),
    (
        ["language.model=deepseek-v3", "language.tuned=current"],
        SettingsError,
        r"set language\.tuned=null",
    ),
    (
        ["language.model=deepseek-v3", "language.mode=rank"],
        SettingsError,
        r"set language\.mode=generate",
    ),
    (
        ["language.model=deepseek-v3"],
        EndpointError,
        "environment variable OPENROUTER_API_KEY holds none",
    ),
    (
        ["recommend.trace_salt_env=NO_SALT"],
        SettingsError,
        "environment variable NO_SALT is not set",
    ),
]


@pytest.mark.parametrize(("overrides", "error", "said"), SERVING)
def test_what_cannot_be_served_is_told_before_ray_starts(
    trained: SettingsFor,
    no_ray: None,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    error: type[DualrecError],
    said: str,
) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    settings = trained()
    assert_refused(recommend, overridden(settings, overrides), error, said)


def test_an_endpoint_that_is_not_there_is_told_before_ray_starts(
    trained: SettingsFor, no_ray: None
) -> None:
    with fake_endpoint() as server:
        gone = server.url
    own = [
        "language.model=deepseek-v3",
        f"language.endpoint.url={gone}",
        "language.endpoint.api_key_env=null",
    ]
    assert_refused(
        recommend, trained(*own), EndpointError, r"cannot be reached.*language\.endpoint\.url"
    )


def test_a_model_on_this_machine_is_looked_at_and_passes(
    trained: SettingsFor, no_ray: None
) -> None:
    settings = trained()
    data = write_prepared(settings, LENGTHS)
    assert check_tuning(settings, dict.fromkeys(range(3), "Heat (1995)"))
    assert check_serving(Workspace(settings.workspace), data, settings) == []
    ranking = trained(
        "language.mode=rank", "language.max_prompt_tokens=900", "finetune.max_tokens=1000"
    )
    assert check_serving(Workspace(ranking.workspace), data, ranking) == []


def test_a_model_that_only_a_node_can_have_is_left_to_it(
    trained: SettingsFor, tmp_path: Path, no_ray: None
) -> None:
    (tmp_path / "packed.zip").write_bytes(b"PK")
    for source in ("s3://bucket/model", "smollm2-135m", str(tmp_path / "packed.zip")):
        settings = trained(f"language.model={source}", "language.decoding=free")
        assert not check_tuning(settings, {0: "Heat (1995)"})
        place = ModelPlace.named(source, settings)
        assert folder_here(place) is None
        assert check_serving(
            Workspace(settings.workspace), write_prepared(settings, LENGTHS), settings
        ) == [place]
    assert not Path(settings.cache).exists(), "nothing was fetched"


def test_a_model_that_is_in_the_cache_is_looked_at(
    settings_for: SettingsFor, whole: Path, no_ray: None
) -> None:
    settings = settings_for("language.model=smollm2-135m", *ROOM)
    folder = shutil.copytree(whole, Path(settings.cache, "smollm2-135m"))
    assert folder_here(ModelPlace.named("smollm2-135m", settings)) is None, (
        "a folder that is not whole is none"
    )
    Path(folder, ".complete.json").write_text("{}")
    assert check_tuning(settings, {0: "Heat (1995)"})
