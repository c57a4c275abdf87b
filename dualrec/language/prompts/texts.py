"""The prompt of each request. Knows strings and a tokenizer's length; not models, users' items or
Ray.

The fixed instruction comes first and the user's part last, so that an engine's prefix cache serves
every user.
Titles from a catalog are data: line breaks and control characters are taken out, so they cannot
change the structure.
"""

from collections.abc import Callable
from functools import partial

from dualrec.config.settings import LanguageSettings
from dualrec.language.candidates import LABELS
from dualrec.language.prompts.special_tokens import escape_special_tokens
from dualrec.language.titles import filed_title, one_line

Messages = list[dict[str, str]]

LONG = 60  # characters; nine in ten titles of MovieLens are shorter


def titles_prompt(
    watched: list[str], hint: str | None, titles: int, newest_first: bool = False
) -> Messages:
    """Ask for titles with years only: genres come from the catalog, which saves most of the output.

    Args:
        watched: recent titles, in the order in which they are shown; may be empty.
        hint: the sequence model's first choice.
        titles: how many to ask for.
        newest_first: what the prompt says of the order of `watched`.
    """
    system = (
        f"You recommend movies. Answer with exactly {titles} movie titles, one a line, each with "
        f"its year in "
        "parentheses. No numbers, no comments, no movie that was already watched."
    )
    suggestion = f"\nA viewing model suggests:\n{hint}" if hint else ""
    user = f"{_history(watched, newest_first)}{suggestion}\n{titles} other movies to watch next:"
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def paper_prompt(watched: list[str], hint: str | None, titles: int) -> Messages:
    """The prompt of the published code, with its spelling of the parts (Li and Grasman 2025); less
    what has no hint."""
    sources, suggestion = (
        (" and LSTM recommendation", f"\nLSTM Suggests: {hint}") if hint else ("", "")
    )
    instruction = (
        f"Given the user's watched movies{sources}, generate {titles} more movies the user will "
        "likely enjoy."
    )
    return [
        {
            "role": "user",
            "content": f"{instruction}\nWatched: {', '.join(watched)}{suggestion}\n###",
        }
    ]


def rank_prompt(
    watched: list[str], candidates: list[str], hinted: bool, newest_first: bool = False
) -> Messages:
    """Ask for the label of the movie to watch next: how likely each label is as the next token
    ranks the candidates.

    Args:
        watched: as above.
        candidates: titles, the sequence model's first choice first.
        hinted: whether to say that this is their order.
    """
    system = (
        "You recommend movies. Choose what the user will watch next, and answer with its letter "
        "only."
    )
    lines = "\n".join(f"{label}. {title}" for label, title in zip(LABELS, candidates, strict=False))
    order = ", as a viewing model ranks them" if hinted else ""
    user = (
        f"{_history(watched, newest_first)}\nTo choose from{order}:\n{lines}\n"
        "The letter of the movie to watch next:"
    )
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def fitting_prompt(
    write: Callable[[list[str]], Messages],
    watched: list[str],
    tokens_of: Callable[[Messages], list[int]],
    budget: int,
) -> tuple[Messages, list[int]]:
    """The prompt with as many of the most recent movies as the token budget allows, and its token
    ids.

    Args:
        write: makes the prompt of the movies that it shows.
        watched: titles, oldest first.

    Raises:
        ValueError: not even a prompt without movies fits.
    """
    for shown in range(len(watched), -1, -1):
        messages = write(watched[len(watched) - shown :])
        tokens = tokens_of(messages)
        if len(tokens) <= budget:
            return messages, tokens
    raise ValueError(
        f"the prompt takes {len(tokens)} tokens without any movie; language.max_prompt_tokens is "
        f"{budget}"
    )


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
        choices: the sequence model's best items, best first; the first is the hint, the first ones
            are the candidates.
        titles: the published title of each item id.

    Raises:
        ValueError: not even a prompt without movies fits.
    """
    recent = [_written(titles[item]) for item in item_ids[-settings.history_length :]]
    suggested = [_written(titles[item]) for item in choices[: settings.rank_candidates]]
    write = partial(_prompt, suggested=suggested, settings=settings)
    try:
        return fitting_prompt(write, recent, tokens_of, settings.max_prompt_tokens)
    except ValueError:
        if max(map(len, suggested), default=0) <= LONG:
            raise
    # One catalog entry as long as a plot must not end a night; a title that long is cut where it
    # does not fit.
    write = partial(_prompt, suggested=[title[:LONG] for title in suggested], settings=settings)
    return fitting_prompt(write, recent, tokens_of, settings.max_prompt_tokens)


def prompt_text(messages: Messages) -> str:
    """The messages as a trace shows them."""
    return "\n\n".join(message["content"] for message in messages)


def _prompt(watched: list[str], suggested: list[str], settings: LanguageSettings) -> Messages:
    """What the settings ask for, of titles that are oldest first and suggestions that are best
    first."""
    newest_first = settings.history_order == "newest_first"
    shown = watched[::-1] if newest_first else watched
    if settings.mode == "rank":
        return rank_prompt(shown, suggested, settings.hint, newest_first)
    hint = suggested[0] if settings.hint and suggested else None
    if settings.prompt == "paper":
        return paper_prompt(shown, hint, settings.titles)
    return titles_prompt(shown, hint, settings.titles, newest_first)


def _history(watched: list[str], newest_first: bool) -> str:
    lines = "\n".join(watched) if watched else "(nothing yet)"
    return f"Watched, {'newest' if newest_first else 'oldest'} first:\n{lines}"


def _written(title: str) -> str:
    """A title as prompts show it: on one line."""
    return one_line(filed_title(title))


_TITLES = {
    item: f"{name} ({1900 + item})"
    for item, name in enumerate(
        ("Plain", "Article, The", "Spaced  \n out", "<|im_end|>", *LABELS), 1
    )
}


def prompt_fingerprint(settings: LanguageSettings) -> list[Messages]:
    """Return the prompts that these settings write for a user with a history, and for one
    without."""
    titles, items = escape_special_tokens(_TITLES), list(_TITLES)
    budget = settings.model_copy(update={"history_length": len(items)})
    users: list[tuple[list[int], list[int]]] = [(items, items), ([], items), ([], [])]
    return [
        user_prompt(watched, choices, titles, budget, lambda _: [])[0] for watched, choices in users
    ]
