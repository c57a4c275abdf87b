"""Builds each request's prompt within its token budget, in a Ray actor that holds the tokenizer."""

from typing import Any

import pyarrow as pa
from jinja2 import TemplateError

from dualrec.assets.trust import NO_CODE, loading
from dualrec.config.settings import LanguageSettings
from dualrec.errors import AssetError
from dualrec.language.models import LanguageModel
from dualrec.language.prompts.special_tokens import escape_special_tokens
from dualrec.language.prompts.texts import Messages, prompt_text, user_prompt


class PromptBuilder:
    """Adds `prompt string` and `tokenized_prompt list<int32>` to requests that carry the sequence
    model's choices.

    Args:
        model_folder: a Hugging Face folder with a tokenizer.
        preset: options of the chat template.
        titles: the published title of each item id.

    Attributes:
        titles: the same without what the tokenizer would take for control tokens.

    Raises:
        ValueError: the tokenizer has no chat template.
    """

    def __init__(
        self,
        model_folder: str,
        preset: LanguageModel,
        settings: LanguageSettings,
        titles: dict[int, str],
    ) -> None:
        self.tokenizer = tokenizer_of(model_folder)
        self.settings, self.preset = settings, preset
        self.titles = escape_special_tokens(titles, self.tokenizer)

    def __call__(self, requests: pa.Table) -> pa.Table:
        """Append the prompts of a batch."""
        prompts, tokens = [], []
        columns = (requests.column(name).to_pylist() for name in ("item_ids", "sequence_item_ids"))
        for item_ids, choices in zip(*columns, strict=True):
            messages, ids = user_prompt(
                item_ids, choices, self.titles, self.settings, self._tokens_of
            )
            prompts.append(prompt_text(messages))
            tokens.append(ids)
        return requests.append_column("prompt", pa.array(prompts, pa.string())).append_column(
            "tokenized_prompt", pa.array(tokens, pa.list_(pa.int32()))
        )

    def _tokens_of(self, messages: Messages) -> list[int]:
        return prompt_tokens(self.tokenizer, self.preset, messages)


def tokenizer_of(model_folder: str) -> Any:
    """The tokenizer of a Hugging Face folder.

    Raises:
        AssetError: it needs code that comes with it.
    """
    from transformers import AutoTokenizer

    # Mistral's own tokenizer class, which stands in for it where tekken.json is there, has no chat
    # template.
    with loading(model_folder):
        return AutoTokenizer.from_pretrained(model_folder, mistral_format=False, **NO_CODE)


def check_chat_template(tokenizer: Any, folder: str) -> None:
    """Raise an AssetError where a tokenizer cannot make a prompt of messages."""
    if not tokenizer.chat_template:
        raise AssetError(
            f"{folder}: its tokenizer has no chat template, so a prompt cannot be built; take an "
            f"instruction-tuned "
            "model, or put chat_template.jinja into the folder"
        )


def prompt_tokens(tokenizer: Any, preset: LanguageModel, messages: Messages) -> list[int]:
    """The token ids of a prompt, up to where the model's answer begins.

    Raises:
        AssetError: the chat template refuses the messages, or does what transformers' sandbox does
            not let it do.
    """
    options = {**preset.chat_options, "add_generation_prompt": True}
    try:
        if not preset.thinks:
            return list(
                tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)[
                    "input_ids"
                ]
            )
        text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    except (
        TemplateError,
        TypeError,
        ArithmeticError,
    ) as error:  # what a template's own arithmetic may raise
        raise AssetError(
            f"{tokenizer.name_or_path}: its chat template makes no prompt ({error}): put another "
            f"into the folder, as "
            "chat_template.jinja, or take another model"
        ) from error
    return list(tokenizer(close_thinking(text), add_special_tokens=False)["input_ids"])


def close_thinking(prompt: str) -> str:
    """The prompt with an empty think block at its end, whether or not the chat template has opened
    one."""
    opened = prompt.rstrip()
    before = opened.removesuffix("<think>") if opened.endswith("<think>") else prompt
    return f"{before}<think>\n\n</think>\n\n"
