"""The prompt of each request. Knows strings and a tokenizer's length; not models, users' items or Ray.

The fixed instruction comes first and the user's part last, so that an engine's prefix cache serves every user.
Titles from a catalogue are data: line breaks and control characters are taken out, so they cannot change the structure.
"""

from collections.abc import Callable
from typing import Literal

from dualrec.language.titles import filed_title, one_line
from dualrec.settings import LanguageSettings

Messages = list[dict[str, str]]
Preset = Literal["titles", "paper"]


def titles_prompt(watched: list[str], hint: str | None, titles: int) -> Messages:
    """Ask for titles with years only: genres come from the catalogue, which saves most of the output.

    Args:
        watched: recent titles, oldest first; may be empty.
        hint: the sequence model's first choice.
        titles: how many to ask for.
    """
    system = (
        f"You recommend movies. Answer with exactly {titles} movie titles, one a line, each with its year in "
        "parentheses. No numbers, no comments, no movie that was already watched."
    )
    lines = "\n".join(watched) if watched else "(nothing yet)"
    suggestion = f"\nA viewing model suggests:\n{hint}" if hint else ""
    user = f"Watched, oldest first:\n{lines}{suggestion}\n{titles} other movies to watch next:"
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def paper_prompt(watched: list[str], hint: str | None, titles: int) -> Messages:
    """The prompt of the published code, with its spelling of the parts (Li and Grasman 2025)."""
    instruction = f"Given the user's watched movies and LSTM recommendation, generate {titles} more movies the user will likely enjoy."
    return [{"role": "user", "content": f"{instruction}\nWatched: {', '.join(watched)}\nLSTM Suggests: {hint}\n###"}]


PROMPTS: dict[Preset, Callable[[list[str], str | None, int], Messages]] = {
    "titles": titles_prompt,
    "paper": paper_prompt,
}


def fitting_prompt(
    preset: Preset,
    watched: list[str],
    hint: str | None,
    titles: int,
    tokens_of: Callable[[Messages], list[int]],
    budget: int,
) -> tuple[Messages, list[int]]:
    """The prompt with as many of the most recent movies as the token budget allows, and its token ids.

    Raises:
        ValueError: not even a prompt without movies fits.
    """
    watched, hint = [one_line(title) for title in watched], one_line(hint) if hint else None
    for shown in range(len(watched), -1, -1):
        messages = PROMPTS[preset](watched[len(watched) - shown :], hint, titles)
        tokens = tokens_of(messages)
        if len(tokens) <= budget:
            return messages, tokens
    raise ValueError(f"the prompt takes {len(tokens)} tokens without any movie; language.max_prompt_tokens is {budget}")


def user_prompt(
    item_ids: list[int],
    choices: list[int],
    titles: dict[int, str],
    settings: LanguageSettings,
    tokens_of: Callable[[Messages], list[int]],
) -> tuple[Messages, list[int]]:
    """The prompt for one user within the settings' budget, and its token ids.

    Args:
        item_ids: the history, oldest first.
        choices: the sequence model's best items, best first; the first is the hint.
        titles: the published title of each item id.

    Raises:
        ValueError: not even a prompt without movies fits.
    """
    recent = [filed_title(titles[item]) for item in item_ids[-settings.history_length :]]
    hint = filed_title(titles[choices[0]]) if choices else None
    return fitting_prompt(settings.prompt, recent, hint, settings.titles, tokens_of, settings.max_prompt_tokens)


def prompt_text(messages: Messages) -> str:
    """The messages as a trace shows them."""
    return "\n\n".join(message["content"] for message in messages)
