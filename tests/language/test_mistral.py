"""Mistral's real tokenizers: the folder's own chat template is used, and the grammar lets through
what is taught."""

import json
import shutil
from pathlib import Path
from typing import Any

import llguidance
import llguidance.hf
import mistral_common
import pyarrow as pa
import pytest

from dualrec.config.settings import LanguageSettings
from dualrec.language.candidates import LABELS, label_tokens
from dualrec.language.models import PRESETS
from dualrec.language.prompts.chat_template import PromptBuilder, prompt_tokens
from dualrec.language.prompts.texts import titles_prompt
from dualrec.language.shortlist import shortlist_grammar, starts_text_with_space
from tests.conftest import MOVIES
from tests.language.tiny_models import write_tokenizer

FILES = Path(mistral_common.__file__).parent / "data"
SEVEN_B = FILES / "mistral_instruct_tokenizer_240323.model.v3"  # Mistral-7B-Instruct-v0.3
EIGHT_B = FILES / "tekken_240911.json"  # Ministral-8B-Instruct-2410
TITLES = {item: title for item, (title, _) in MOVIES.items()}
INSTRUCT = "{{ bos_token }}[INST] {{ messages[0].content }}\n\n{{ messages[1].content }}[/INST]"


def _seven_b(folder: Path, prepend: str) -> Any:
    """Its vocabulary as transformers converts it, with a space before every text (`first`) or
    without one (`never`)."""
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    shutil.copyfile(SEVEN_B, folder / "tokenizer.model")
    (folder / "config.json").write_text(json.dumps({"model_type": "mistral", "vocab_size": 32768}))
    own = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**own, "legacy": False, "chat_template": INSTRUCT})
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, mistral_format=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        prepend_scheme=prepend, split=False
    )
    return tokenizer


def test_a_folder_with_mistrals_own_tokenizer_beside_keeps_its_chat_template(
    tmp_path: Path,
) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mistral"}))
    (tmp_path / "tekken.json").symlink_to(EIGHT_B)
    requests = pa.table({"item_ids": [[1, 3]], "sequence_item_ids": [[5]]})
    built = PromptBuilder(
        str(tmp_path), PRESETS["ministral-8b-instruct-2410"], LanguageSettings(), TITLES
    )
    (row,) = built(requests).to_pylist()
    assert built.tokenizer.decode(row["tokenized_prompt"]).startswith(
        "<|start|>system\nYou recommend movies."
    )


def test_the_prompt_is_the_one_that_mistrals_own_code_makes(tmp_path: Path) -> None:
    from mistral_common.protocol.instruct.messages import SystemMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    system, user = titles_prompt(["Heat (1995)"], "Amélie (2001)", 3)
    messages = [SystemMessage(content=system["content"]), UserMessage(content=user["content"])]
    theirs = MistralTokenizer.from_file(str(SEVEN_B)).encode_chat_completion(
        ChatCompletionRequest(messages=messages)
    )
    ours = prompt_tokens(
        _seven_b(tmp_path, "never"), PRESETS["mistral-7b-instruct-v0.3"], [system, user]
    )
    assert ours == theirs.tokens


@pytest.mark.parametrize(("prepend", "spaced"), [("first", True), ("never", False)])
def test_the_grammar_lets_through_the_tokens_of_a_taught_answer(
    tmp_path: Path, prepend: str, spaced: bool
) -> None:
    tokenizer = _seven_b(tmp_path, prepend)
    assert starts_text_with_space(tokenizer) is spaced
    titles = ["Toy Story (1995)", "Amélie (2001)", "Heat (1995)"]
    taught = tokenizer("\n".join(titles[:2]), add_special_tokens=False)["input_ids"]
    grammar = llguidance.grammar_from("grammar", shortlist_grammar(titles, 2, spaced))
    matcher = llguidance.LLMatcher(llguidance.hf.from_tokenizer(tokenizer), grammar)
    assert matcher.consume_tokens([*taught, tokenizer.eos_token_id]), matcher.get_error()
    assert matcher.is_stopped()


@pytest.mark.parametrize(("prepend", "beginning"), [("first", "▁"), ("never", "")])
def test_a_label_is_the_token_of_a_taught_answer(
    tmp_path: Path, prepend: str, beginning: str
) -> None:
    tokenizer = _seven_b(tmp_path, prepend)
    tokens = label_tokens(tokenizer, len(LABELS))
    assert tokenizer.convert_ids_to_tokens(tokens) == [beginning + label for label in LABELS]
