"""Model folders that try to run code: by a pickle, by Python beside the weights, by a module's
name, by a template."""

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dualrec.assets.fetch import resolve_model
from dualrec.config.settings import LanguageSettings, load_settings
from dualrec.errors import AssetError
from dualrec.language.models import LanguageModel
from dualrec.language.prompts.chat_template import PromptBuilder, tokenizer_of
from tests.language.tiny_models import write_model, write_tokenizer

pytestmark = pytest.mark.timeout(120)

CODE = """
import pathlib
pathlib.Path({canary!r}).touch()
from transformers import {base}
class Own({base}):
    model_type = "of-my-own"
"""


class _Runs:
    """Touches a file where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once foreign code has run. Whoever asks at the terminal whether to run
    it hears yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "canary"


def _config(folder: Path, **entries: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(entries))
    return folder


def _resolved(folder: Path) -> Path:
    return resolve_model(str(folder), folder.parent / "cache")


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "weights.pkl"]
)
def test_pickled_weights_are_refused_before_anything_reads_them(
    tmp_path: Path, canary: Path, name: str
) -> None:
    folder = _config(tmp_path / "model", model_type="llama")
    (folder / name).write_bytes(pickle.dumps(_Runs(canary)))
    with pytest.raises(AssetError, match=rf"pickled \({name}\).*safetensors"):
        _resolved(folder)
    (folder / "model.safetensors").write_bytes(b"")
    assert _resolved(folder) == folder, "the same weights once more, which no loader takes"
    assert not canary.exists()


def test_fine_tuning_takes_no_pickled_weights_even_of_a_folder_that_nobody_looked_at(
    tmp_path: Path,
) -> None:
    import torch
    from safetensors.torch import load_file

    from dualrec.language.lora import adapted_model

    folder = write_model(tmp_path / "model", "qwen2")
    targets = LanguageModel().target_modules
    settings = load_settings(None, ["finetune.dtype=float32"]).finetune
    adapted_model(str(folder), targets, settings)
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        adapted_model(str(folder), targets, settings)


def test_the_engine_takes_neither_pickled_weights_nor_code() -> None:
    from dualrec.language.generate import engine_options
    from dualrec.language.models import ServedModel

    options = engine_options(ServedModel(LanguageModel(), Path("/model")), LanguageSettings())
    assert (options["load_format"], options["trust_remote_code"]) == ("safetensors", False)


def test_a_model_with_code_of_its_own_is_refused_and_nobody_is_asked(
    tmp_path: Path, canary: Path
) -> None:
    from dualrec.language.lora import check_model

    own = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    folder = _config(tmp_path / "model", model_type="of-my-own", auto_map=own)
    (folder / "own.py").write_text(CODE.format(canary=str(canary), base="PreTrainedConfig"))
    for load in (_resolved, lambda folder: check_model(str(folder), ("q_proj",))):
        with pytest.raises(AssetError, match="needs Python code that comes with it.*never run"):
            load(folder)
    assert not canary.exists()


def test_a_known_model_beside_code_is_loaded_without_it(tmp_path: Path, canary: Path) -> None:
    from dualrec.language.lora import adapted_model

    folder = write_model(tmp_path / "model", "qwen2")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(CODE.format(canary=str(canary), base="Qwen2ForCausalLM"))
    settings = load_settings(None, ["finetune.dtype=float32"]).finetune
    adapted_model(str(_resolved(folder)), LanguageModel().target_modules, settings)
    assert not canary.exists()


def test_a_tokenizer_with_code_of_its_own_is_refused_and_nobody_is_asked(
    tmp_path: Path, canary: Path
) -> None:
    folder = _config(tmp_path / "model", model_type="of-my-own")
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(own))
    (folder / "own.py").write_text(CODE.format(canary=str(canary), base="PreTrainedTokenizerFast"))
    with pytest.raises(AssetError, match="needs Python code that comes with it.*never run"):
        tokenizer_of(str(folder))
    assert not canary.exists()


@pytest.mark.parametrize("name", ["own.Own", "os.system", "sentence_transformersx.Own", ""])
def test_a_sentence_encoder_with_code_of_its_own_is_refused(
    tmp_path: Path, canary: Path, name: str
) -> None:
    from dualrec.language.rerank import catalog_embeddings

    folder = _config(tmp_path / "model", model_type="bert")
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": name}])
    )
    (folder / "own.py").write_text(CODE.format(canary=str(canary), base="PreTrainedModel"))
    with pytest.raises(AssetError, match="modules.json names"):
        _resolved(folder)
    if name:
        with pytest.raises(AssetError, match="needs Python code"):
            catalog_embeddings(str(folder), ["Heat (1995)"])
    assert not canary.exists()


@pytest.mark.parametrize("broken", ['{"a": ', "[1]", "[" * 100_000], ids=["cut", "a list", "deep"])
def test_a_config_that_is_none_is_named(tmp_path: Path, broken: str) -> None:
    (_config(tmp_path / "model") / "config.json").write_text(broken)
    with pytest.raises(AssetError, match="config.json"):
        _resolved(tmp_path / "model")


TEMPLATES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
    "{{ self.__init__.__globals__.__builtins__.open('CANARY', 'w') }}",
    "{{ raise_exception.__globals__['__builtins__']['__import__']('os').system('touch CANARY') }}",
    "{{ messages.append('x') }}",
    "{% include '/etc/passwd' %}",
    "{% for message in messages",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_chat_template_reaches_nothing_but_the_messages(
    tmp_path: Path, canary: Path, template: str
) -> None:
    write_tokenizer(tmp_path / "model", template.replace("CANARY", str(canary)))
    build = PromptBuilder(
        str(tmp_path / "model"), LanguageModel(), LanguageSettings(), {1: "Heat (1995)"}
    )
    with pytest.raises(AssetError, match="its chat template makes no prompt"):
        build(pa.table({"item_ids": [[1]], "sequence_item_ids": [[1]]}))
    assert not canary.exists()


def test_a_chat_template_finds_nothing_behind_a_filter(tmp_path: Path) -> None:
    write_tokenizer(
        tmp_path,
        "{{ raise_exception | attr('__globals__') }}{{ messages | map(attribute='__class__') | list }}",
    )
    build = PromptBuilder(str(tmp_path), LanguageModel(), LanguageSettings(), {1: "Heat (1995)"})
    (row,) = build(pa.table({"item_ids": [[1]], "sequence_item_ids": [[1]]})).to_pylist()
    assert build.tokenizer.decode(row["tokenized_prompt"]) == "[Undefined, Undefined]"


def test_a_title_is_no_template(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    settings = LanguageSettings(max_prompt_tokens=4000)
    build = PromptBuilder(
        str(tmp_path), LanguageModel(), settings, {1: "{{ 7 * 191 }} {% raw %} (1995)"}
    )
    (row,) = build(pa.table({"item_ids": [[1]], "sequence_item_ids": [[1]]})).to_pylist()
    text = build.tokenizer.decode(row["tokenized_prompt"])
    assert text.count("{{ 7 * 191 }} {% raw %}") == 2 and "1337" not in text
