"""Builds each request's prompt within its token budget, in a Ray actor that holds the tokenizer."""

from functools import lru_cache, partial
from typing import Any

import pyarrow as pa

from dualrec.language.models import LanguageModel
from dualrec.language.prompts import Messages, fitting_prompt
from dualrec.language.shortlist import Shortlister, longest_answer, shortlist_grammar
from dualrec.language.titles import display_title
from dualrec.settings import LanguageSettings


class PromptBuilder:
    """Adds what the engine is given to requests that carry the sequence model's choices.

    These are `prompt string`, `tokenized_prompt list<int32>`, `max_tokens int32`, the limit of the answer, and
    `grammar string`, which holds the answer to the user's shortlist; null where decoding is free.

    Args:
        model_folder: a Hugging Face folder with a tokenizer.
        preset: what the chat template is given.
        titles: the published title of each item id.
        shortlister: chooses the titles of requests with the decoding `shortlist`.

    Raises:
        ValueError: the tokenizer has no chat template.
    """

    def __init__(
        self,
        model_folder: str,
        preset: LanguageModel,
        settings: LanguageSettings,
        titles: dict[int, str],
        shortlister: Shortlister,
    ) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model_folder)
        self.settings, self.preset, self.titles, self.shortlister = settings, preset, titles, shortlister
        self.tokens_in = lru_cache(maxsize=None)(lambda title: len(self.tokenizer.tokenize(title)))

    def __call__(self, requests: pa.Table) -> pa.Table:
        """Append the prompts of a batch."""
        prompts, tokens, limits, grammars = [], [], [], []
        columns = (requests.column(name).to_pylist() for name in ("item_ids", "sequence_item_ids", "decoding"))
        for item_ids, choices, decoding in zip(*columns, strict=True):
            messages, ids = self._prompt(item_ids, choices)
            prompts.append("\n\n".join(message["content"] for message in messages))
            tokens.append(ids)
            shortlist = self.shortlister(item_ids, choices) if decoding == "shortlist" else []
            limits.append(self._limit(shortlist) if shortlist else self.settings.max_new_tokens)
            grammars.append(shortlist_grammar(shortlist, self.settings.titles) if shortlist else None)
        for name, values, kind in (
            ("prompt", prompts, pa.string()),
            ("tokenized_prompt", tokens, pa.list_(pa.int32())),
            ("max_tokens", limits, pa.int32()),
            ("grammar", grammars, pa.string()),
        ):
            requests = requests.append_column(name, pa.array(values, kind))
        return requests

    def _prompt(self, item_ids: list[int], choices: list[int]) -> tuple[Messages, list[int]]:
        recent = [display_title(self.titles[item]) for item in item_ids[-self.settings.history_length :]]
        hint = display_title(self.titles[choices[0]]) if choices else None
        build = partial(fitting_prompt, self.settings.prompt, recent, hint, self.settings.titles)
        return build(self._tokens_of, self.settings.max_prompt_tokens)

    def _limit(self, shortlist: list[str]) -> int:
        """Tokens that hold the longest answer. The engine may split a title worse than the tokenizer: hence the half."""
        longest = sorted(map(self.tokens_in, shortlist))[-self.settings.titles :]
        return min(sum(longest) * 3 // 2 + len(longest) + 1, longest_answer(self.settings.titles))

    def _tokens_of(self, messages: Messages) -> list[int]:
        return prompt_tokens(self.tokenizer, self.preset, messages)


def prompt_tokens(tokenizer: Any, preset: LanguageModel, messages: Messages) -> list[int]:
    """The token ids of a prompt, up to where the model's answer begins."""
    options = {**preset.chat_options, "add_generation_prompt": True}
    if not preset.thinks:
        return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"])
    text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    return list(tokenizer(thinking_closed(text), add_special_tokens=False)["input_ids"])


def thinking_closed(prompt: str) -> str:
    """The prompt with an empty think block at its end, whether or not the chat template has opened one."""
    opened = prompt.rstrip()
    before = opened.removesuffix("<think>") if opened.endswith("<think>") else prompt
    return f"{before}<think>\n\n</think>\n\n"
