"""Takes keys out of what stores and endpoints say. Plain functions on strings."""

import json

# characters; what is shorter ("test", "none") guards nothing, and may be a word of what is said
SHORTEST_KEY = 8


def without_key(text: str, key: str, shown: str) -> str:
    """A text as it may be kept: with `[shown]` in place of a key, also where it stands as JSON
    writes it."""
    if len(key) < SHORTEST_KEY:
        return text
    return text.replace(key, f"[{shown}]").replace(json.dumps(key)[1:-1], f"[{shown}]")
