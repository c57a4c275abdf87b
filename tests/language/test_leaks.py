"""No movie that a protocol holds out reaches an example, all the way from files to token ids."""

import re
from pathlib import Path

import pytest

from dualrec.assets.nodes import ModelPlace
from dualrec.config.settings import load_settings
from dualrec.data.prepare import prepare, prepared
from dualrec.data.requests import HELD_OUT
from dualrec.language.encode import ENCODED
from dualrec.language.encoded_examples import encoded_examples
from dualrec.language.models import LanguageModel
from dualrec.sequence.train import train_sequence
from dualrec.storage.workspace import Workspace
from tests.conftest import cyclic_ratings, numbered_movies, write_movielens_1m
from tests.language.test_finetune import SMALL
from tests.language.tiny_models import write_model

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]

USERS, MOVIES, EARLIER, LAST = 60, 12, 9, max(HELD_OUT.values())
# Any movie may be suggested or a candidate: no user's future is in that.
HINT = re.compile(r"A viewing model suggests:\n[^\n]*\n")
CANDIDATES = re.compile(r"To choose from[^\n]*\n((?:[A-Z]\. [^\n]*\n)+)")


def _marker(user: int, place: int) -> int:
    """The movie that this user alone watched, at a place of the last five."""
    return 1000 + user * LAST + place


def _last_five_are_the_users_own(folder: Path) -> Path:
    ratings = cyclic_ratings(USERS, MOVIES, EARLIER)
    movies = numbered_movies(MOVIES)
    for user in range(1, USERS + 1):
        for place in range(LAST):
            ratings.append((user, _marker(user, place), 5, 2000 + place))
            movies[_marker(user, place)] = (f"Marker {user} at {place} (1990)", "Drama")
    return write_movielens_1m(folder, ratings, movies)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> list[str]:
    """Overrides that name a workspace with histories and a sequence model, and a tiny language
    model."""
    folder = tmp_path_factory.mktemp("leaks")
    source = _last_five_are_the_users_own(folder / "movielens")
    overrides = [
        f"workspace={folder / 'workspace'}",
        f"data.source={source}",
        "data.shards=2",
        "data.top_items=0",
        f"language.model={write_model(folder / 'model', 'qwen2')}",
        *SMALL,
        "finetune.examples_per_user=20",
        "sequence.preset=pair",  # the models that hint are one network each, that in force is two
    ]
    prepare(load_settings(None, overrides))
    train_sequence(load_settings(None, overrides))
    return overrides


@pytest.mark.parametrize(
    "kind",
    [
        ["finetune.examples=cuts"],
        ["finetune.examples=published"],
        [
            "language.mode=rank",
            "language.rank_candidates=26",
            "language.max_prompt_tokens=1400",
            "finetune.max_tokens=1500",
            "finetune.batch_size=2",
        ],
    ],
    ids=["cuts", "published", "ranked"],
)
def test_no_held_out_movie_of_another_than_a_training_user_reaches_an_example(
    trained: list[str], kind: list[str]
) -> None:
    settings = load_settings(None, [*trained, *kind])
    model = Path(settings.language.model)
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    split_of = {
        row["user_id"]: split
        for split in ("train", "validation", "test")
        for row in data.read_histories(workspace, split).iter_rows()
    }
    shown: dict[str, set[str]] = {split: set() for split in split_of.values()}
    tokenizer = _tokenizer(model)
    for dataset in encoded_examples(
        workspace, data, settings, LanguageModel(), ModelPlace(str(model), "cache")
    ):
        for row in dataset.iter_rows():
            text = _without_suggestions(tokenizer.decode(row["input_ids"]))
            for user in re.findall(r"Marker (\d+) at", text):
                shown[split_of[int(user)]].add(user)
            assert set(row) == set(ENCODED.names) and split_of[row["user_id"]] != "test"
    assert shown["train"], (
        "a training user's last five may be learned from, so this test can see them"
    )
    assert not shown["validation"] and not shown["test"]


def _without_suggestions(text: str) -> str:
    """An example without what the sequence model suggests, but with the candidate that is the
    answer."""
    answer = (
        "".join(re.findall(rf"^{text[-1]}\. .*$", text, re.MULTILINE))
        if CANDIDATES.search(text)
        else ""
    )
    return HINT.sub("", CANDIDATES.sub("", text)) + answer


def _tokenizer(model: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)
