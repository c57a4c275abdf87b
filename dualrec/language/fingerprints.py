"""What decides the language model's answers beside its settings, for versions: its content and the
text of its prompt.

The text is that of prompts written for a made-up user by the code that writes every prompt, so no
change of it is missed.
"""

from dualrec.assets.digests import model_digest
from dualrec.config.settings import LanguageSettings, Settings
from dualrec.language.labels import LABELS
from dualrec.language.models import language_model
from dualrec.language.prompts import Messages, user_prompt
from dualrec.language.shortlist import shortlist_grammar
from dualrec.language.special_tokens import unmarked_titles

_TITLES = {
    item: f"{name} ({1900 + item})"
    for item, name in enumerate(
        ("Plain", "Article, The", "Spaced  \n out", "<|im_end|>", *LABELS), 1
    )
}


def model_parts(settings: Settings) -> list[object]:
    """Return the digest of the settings' model and what its preset gives it; of a model at an
    endpoint, its name there."""
    preset, place = language_model(settings)
    content = f"endpoint {preset.endpoint}" if place is None else model_digest(place)
    return [content, preset.stop, preset.chat_options, preset.thinks, preset.target_modules]


def prompt_parts(settings: LanguageSettings) -> list[Messages]:
    """Return the prompts that these settings write for a user with a history, and for one without."""
    titles, items = unmarked_titles(_TITLES), list(_TITLES)
    budget = settings.model_copy(update={"history_length": len(items)})
    users: list[tuple[list[int], list[int]]] = [(items, items), ([], items), ([], [])]
    return [
        user_prompt(watched, choices, titles, budget, lambda _: [])[0] for watched, choices in users
    ]


def grammar_parts(settings: LanguageSettings) -> list[str]:
    """Return the grammar that holds answers to a shortlist; nothing where nothing holds them."""
    if settings.mode == "rank" or settings.decoding != "shortlist":
        return []
    return [
        shortlist_grammar([f"Title {number}" for number in range(settings.titles)], settings.titles)
    ]
