"""Titles in which nothing reads as a special token of a tokenizer or a chat template. Knows
strings and a tokenizer.

Tokenizers find their control tokens anywhere in a prompt, so a title that holds "<|im_end|>" would
end its own turn, and as the answer of a training example teach a model to stop there. Spaces around
its signs make it ordinary text that names the same movie. This is done once for a catalog, so that
prompts take no longer.
"""

import re
from typing import Any

from dualrec.language.titles import filed_title

_SIGN = re.compile(
    r"[^\w\s.,:;!?'’\"&()\-]"
)  # what no control token can do without, and few titles have
# Marks of chat templates whatever the tokenizer: an endpoint's is not known, and some templates
# spell theirs as text.
_CHAT_MARK = re.compile(
    r"<\s*[|/｜]|[|｜]\s*>|<<|<[A-Za-z_][\w-]*>|\[/|\[(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_\w+|THINK|IMG\w*)\]"
)


def escape_special_tokens(titles: dict[int, str], tokenizer: Any = None) -> dict[int, str]:
    """The titles of a catalog with spaces around the signs of those that hold a special token; the
    others as they are.

    Args:
        titles: the published title of each item id.
        tokenizer: that of the language model; None where it is not at hand.
    """
    tokens = frozenset() if tokenizer is None else _control_tokens(tokenizer)
    return {
        item: _SIGN.sub(r" \g<0> ", title)
        if _reads_as_special_token(title, tokenizer, tokens)
        else title
        for item, title in titles.items()
    }


def _control_tokens(tokenizer: Any) -> frozenset[int]:
    """The ids of all added tokens that are spelt with a sign, less the one that stands for unknown
    characters."""
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(number for number, token in added if _SIGN.search(token.content)) - {
        tokenizer.unk_token_id
    }


def _reads_as_special_token(title: str, tokenizer: Any, tokens: frozenset[int]) -> bool:
    if not _SIGN.search(title):
        return False
    shown = filed_title(title)
    if _CHAT_MARK.search(shown):
        return True
    return bool(tokens) and not tokens.isdisjoint(
        tokenizer(shown, add_special_tokens=False)["input_ids"]
    )
