"""Model cards: whole, true to what they are given, and tables that Markdown reads."""

import pyarrow as pa

from dualrec.cluster.tracking import ModelCard
from dualrec.config.settings import load_settings
from dualrec.data.prepare import Prepared
from dualrec.language.artifact import language_card
from dualrec.sequence.artifact import sequence_card

PARTS = ["Data", "How well it does", "Intended use", "Limits", "Files", "Settings"]
EPOCHS = [
    {
        "epoch": 1,
        "validation_loss": 4.0,
        "validation_accuracy": 0.1,
        "validation_top5_accuracy": 0.3,
        "train_loss": 4.5,
    },
    {
        "epoch": 2,
        "validation_loss": 3.0,
        "validation_accuracy": 0.2,
        "validation_top5_accuracy": 0.4,
        "train_loss": 3.5,
    },
]


def headings(card: str) -> list[str]:
    return [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]


def rows(card: str) -> dict[str, str]:
    """Every row of every table."""
    cells = [
        line.strip("| ").split(" | ")
        for line in card.splitlines()
        if line.startswith("| ") and line.count(" | ") == 1
    ]
    return {cell[0]: cell[1] for cell in cells if len(cell) == 2}


def test_the_sequence_models_card_says_what_it_rests_on_and_how_well_it_does(
    catalog: pa.Table,
) -> None:
    data = Prepared("v1", "MovieLens", catalog, "histories/v1")
    card = sequence_card(
        "models/sequence/x",
        data,
        load_settings(None, ["sequence.dense=99"]),
        {"best": EPOCHS[1], "epochs": EPOCHS},
    )
    assert card.startswith("# models/sequence/x\n") and headings(card) == PARTS
    told = rows(card)
    assert told["data set"] == "MovieLens" and told["version of the histories"] == "v1"
    assert told["movies in its catalog"] == str(len(catalog)) and told["dense"] == "99"
    assert told["best epoch"] == "2 of 2" and told["validation top-5 accuracy"] == "0.4"


def test_the_language_models_card_says_what_it_was_taught(catalog: pa.Table) -> None:
    data = Prepared("v1", "MovieLens", catalog, "histories/v1")
    budget = {"training_examples": 24, "validation_examples": 8, "tokens": 1234.0}
    metrics = {"best": EPOCHS[1], "epochs": EPOCHS, "budget": budget, "dtype": "float32"}
    settings = load_settings(None, ["language.model=smollm2-135m", "finetune.seed=5"])
    card = language_card("models/language/x", data, settings, metrics)
    assert headings(card) == PARTS and "titles of movies" in card
    told = rows(card)
    assert told["base model"] == "smollm2-135m" and told["examples of training users"] == "24"
    assert told["tokens seen"] == "1234" and told["finetune.seed"] == "5"
    assert not [name for name in told if name.startswith("language.endpoint")]
    ranking = load_settings(None, ["language.mode=rank"])
    assert "the letter of one of the movies" in language_card(
        "models/language/x", data, ranking, metrics
    )


def test_a_value_cannot_break_its_table() -> None:
    card = ModelCard("a", "b", {"data set": "one | two\nthree"}, {}, {}, (), (), {}).text()
    assert r"| data set | one \| two three |" in card.splitlines()
