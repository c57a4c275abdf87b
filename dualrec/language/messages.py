"""Builds each request's chat messages for an endpoint, where no tokenizer is at hand. Knows no Ray
and no HTTP."""

import pyarrow as pa

from dualrec.config.settings import LanguageSettings
from dualrec.language.prompts import Messages, prompt_text, user_prompt
from dualrec.language.special_tokens import unmarked_titles

CHARACTERS_A_TOKEN = (
    3.0  # English prose has about four, titles and names fewer: this rather counts too many tokens
)
TOKENS_A_MESSAGE = 8  # the marks that a chat template puts around each


class MessagesBuilder:
    """Adds `prompt string` and `messages list<struct<role, content>>` to requests with the sequence
    model's choices.

    Args:
        titles: the published title of each item id.
    """

    def __init__(self, settings: LanguageSettings, titles: dict[int, str]) -> None:
        self.settings, self.titles = settings, unmarked_titles(titles)

    def __call__(self, requests: pa.Table) -> pa.Table:
        """Append the messages of a batch."""
        columns = (requests.column(name).to_pylist() for name in ("item_ids", "sequence_item_ids"))
        messages = [
            self._messages(item_ids, choices) for item_ids, choices in zip(*columns, strict=True)
        ]
        prompts = [prompt_text(one) for one in messages]
        kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
        requests = requests.append_column("prompt", pa.array(prompts, pa.string()))
        return requests.append_column("messages", pa.array(messages, kind))

    def _messages(self, item_ids: list[int], choices: list[int]) -> Messages:
        messages, _ = user_prompt(item_ids, choices, self.titles, self.settings, _as_many_tokens)
        return messages


def _as_many_tokens(messages: Messages) -> list[int]:
    return [0] * estimated_tokens(messages)


def estimated_tokens(messages: Messages) -> int:
    """About how many tokens the messages are."""
    characters = sum(len(message["content"]) for message in messages)
    return int(characters / CHARACTERS_A_TOKEN) + TOKENS_A_MESSAGE * len(messages) + 1
