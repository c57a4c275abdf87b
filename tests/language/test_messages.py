"""Messages for an endpoint: the same prompt, within an estimated budget."""

import pyarrow as pa

from dualrec.config.settings import LanguageSettings
from dualrec.language.messages import MessagesBuilder, estimated_tokens
from dualrec.language.prompts import titles_prompt
from tests.conftest import MOVIES

TITLES = {item: title for item, (title, _) in MOVIES.items()}
REQUESTS = pa.table({"item_ids": [[3, 2], []], "sequence_item_ids": [[5], []]})


def test_the_messages_are_those_of_the_prompt() -> None:
    built = MessagesBuilder(LanguageSettings(), TITLES)(REQUESTS).to_pylist()
    assert built[0]["messages"] == titles_prompt(
        ["Heat (1995)", "Bug's Life, A (1998)"], "Sabrina (1954)", 3
    )
    assert built[1]["messages"] == titles_prompt([], None, 3)
    assert built[0]["prompt"] == "\n\n".join(message["content"] for message in built[0]["messages"])


def test_older_movies_are_left_out_until_the_estimate_fits() -> None:
    long = pa.table({"item_ids": [[1, 2, 3, 4, 5, 6] * 5], "sequence_item_ids": [[3]]})
    settings = LanguageSettings(history_length=30, max_prompt_tokens=160)
    (row,) = MessagesBuilder(settings, TITLES)(long).to_pylist()
    shown = row["messages"][-1]["content"].splitlines()[1:-3]
    assert 0 < len(shown) < 30
    assert shown[-1] == "Sabrina (1995)"
    assert estimated_tokens(row["messages"]) <= 160
