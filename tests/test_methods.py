"""Small fixed inputs and what each step makes of them: a change of any output needs another METHOD
of its step.

METHOD enters the version of what a step writes, so that nothing of an older method is carried over
or taken for new.
"""

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from dualrec.baselines.baseline import Items, TrainingData
from dualrec.baselines.registry import MODULES, baseline
from dualrec.config.settings import BaselineSettings, load_settings
from dualrec.data.catalog import build_catalog
from dualrec.data.histories import build_histories, item_counts, keep_items
from dualrec.data.requests import cut_requests, night_requests
from dualrec.evaluation.metrics import LENGTH, coverage, item_facts, user_metrics
from dualrec.evaluation.protocols import candidate_sets, cut_cases, sampled
from dualrec.language.batches import collate, epoch_steps, shard_of
from dualrec.language.encode import ExampleEncoder
from dualrec.language.examples import (
    likeliest_targets,
    published_cuts,
    several_cuts,
    validation_cuts,
)
from dualrec.language.models import LanguageModel
from dualrec.language.prompts.chat_template import PromptBuilder
from dualrec.language.shortlist import Shortlister, shortlist_grammar
from dualrec.language.titles import TitleIndex, parse_titles
from dualrec.ranking.fusion import choose_weight
from dualrec.ranking.lists import fused_list, language_list, paper_list
from dualrec.sequence.chunks import chunk_histories
from dualrec.sequence.epoch import evaluate_sequence_epoch, train_sequence_epoch
from dualrec.sequence.features import item_features
from dualrec.sequence.loss import EnsembleLoss
from dualrec.sequence.network import SequenceEnsemble, save_ensemble
from dualrec.sequence.predict import SequencePredictor
from dualrec.storage.schemas import INTERACTIONS
from tests.conftest import histories_table
from tests.language.tiny_models import write_tokenizer

CPU = torch.device("cpu")
HISTORIES = {
    user: [(user * 5 + step * (user % 3 + 1)) % 6 + 1 for step in range(9)] for user in range(1, 9)
}


def _check(found: Any, expected: Any, module: str) -> None:
    """Compare what a step makes now with what it made when its METHOD was set."""
    file, method = f"{module.replace('.', '/')}.py", importlib.import_module(module).METHOD
    assert found == expected, (
        f"raise METHOD in {file} (it is {method}), then update this value to {found!r}"
    )


def _hash(value: Any) -> str:
    if isinstance(value, pa.Table):
        value = value.to_pydict()
    return hashlib.sha256(json.dumps(value, default=_plain).encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def test_prepare() -> None:
    rows = [
        (user, item, 1000 + item * user % 7) for user, items in HISTORIES.items() for item in items
    ]
    columns = zip(*rows, strict=True)
    users, items, times = (list(column) for column in columns)
    table = pa.table(
        [users, items, [3.5] * len(rows), times, list(range(len(rows)))], schema=INTERACTIONS
    )
    histories = build_histories(table, load_settings(None, ["data.until=1006"]).data)
    described = pa.table(
        {
            "item_id": [1, 2, 3, 4, 5, 6],
            "title": list("abcdef"),
            "year": pa.array([1999] * 6, pa.int16()),
            "genres": [["Drama"]] * 6,
        }
    )
    catalog = build_catalog(described, item_counts(histories), 4)
    kept = keep_items(histories, catalog.column("item_id").to_numpy())
    found = [_hash(histories), catalog.column("item_id").to_pylist(), _hash(catalog), _hash(kept)]
    _check(found, PREPARED, "dualrec.data.prepare")


def test_train_sequence(catalog: pa.Table, tmp_path: Path) -> None:
    sizes = [
        "item_dimension=8",
        "title_dimension=4",
        "genre_dimension=4",
        "hidden=[8,8]",
        "dense=8",
        "dropout=0.0",
    ]
    settings = load_settings(
        None, [f"sequence.{one}" for one in (*sizes, "chunk_length=4", "preset=pair")]
    ).sequence
    features = item_features(catalog, settings)
    chunks = chunk_histories(histories_table(HISTORIES), features, settings.chunk_length)
    torch.manual_seed(0)
    ensemble = SequenceEnsemble(features, settings)
    save_ensemble(ensemble, tmp_path / "weights")
    predict = SequencePredictor((tmp_path / "weights").read_bytes(), settings, use_gpu=False)
    probabilities = predict.probabilities([np.array([1, 2, 3]), np.array([], np.int64)])
    summed = EnsembleLoss(ensemble, settings)
    losses = []
    for _ in range(2):
        losses.append(
            evaluate_sequence_epoch(summed, [chunks], CPU).means("validation")["validation_loss"]
        )
        train_sequence_epoch(
            summed, [chunks], torch.optim.SGD(ensemble.parameters(), lr=0.1), CPU, 1
        )
    found = [_hash([features.title_words, features.genres]), _hash(chunks)]
    _check(found, SEQUENCE_INPUTS, "dualrec.sequence.artifact")
    _check(
        _rounded([*probabilities.ravel(), *losses]),
        pytest.approx(SEQUENCE, abs=2e-3),
        "dualrec.sequence.artifact",
    )


def test_finetune_language(catalog: pa.Table, tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    training, validation = histories_table(HISTORIES), histories_table(HISTORIES, "validation")
    cuts = [
        several_cuts(training, titles=2, future_targets=5, per_user=2, seed=0),
        published_cuts(training, titles=2, seed=0),
        validation_cuts(validation, titles=2, future_targets=3, seed=0),
    ]
    settings = load_settings(
        None, ["language.titles=2", "language.max_prompt_tokens=500", "finetune.max_tokens=700"]
    )
    titles = dict(
        zip(*(catalog.column(name).to_pylist() for name in ("item_id", "title")), strict=True)
    )
    encode = ExampleEncoder(
        str(tmp_path), LanguageModel(), settings.language, settings.finetune, titles
    )
    hints = pa.array([[3, 4]] * len(cuts[0]), pa.list_(pa.int64()))
    expected = pa.array(
        [[0.1 * len(after) for _ in after] for after in cuts[0].column("next_ids").to_pylist()]
    )
    examples = (
        cuts[0]
        .append_column("sequence_item_ids", hints)
        .append_column("next_probabilities", expected)
    )
    encoded = encode(examples)
    shard = shard_of([encoded])
    batch = collate(shard, np.arange(3))
    found = [
        *map(_hash, cuts),
        likeliest_targets([1, 2, 3], [0.1, 0.5, 0.2], 2),
        _hash(encoded),
        _hash(epoch_steps(shard.lengths, 3, 0, 1)),
        _hash([batch.input_ids, batch.labels]),
    ]
    _check(found, FINETUNED, "dualrec.language.artifact")


@pytest.mark.parametrize(
    "change", ["language.prompt=titles", "language.prompt=paper", "language.mode=rank"]
)
def test_scoring_prompts(catalog: pa.Table, tmp_path: Path, change: str) -> None:
    write_tokenizer(tmp_path)
    titles = dict(
        zip(*(catalog.column(name).to_pylist() for name in ("item_id", "title")), strict=True)
    )
    settings = load_settings(None, [change, "language.max_prompt_tokens=400"]).language
    build = PromptBuilder(str(tmp_path), LanguageModel(), settings, titles)
    requests = night_requests(histories_table({1: [1, 2, 3], 2: [], 3: list(titles)}), "free")
    choices = pa.array([[4, 5, 6], [1, 2], [1]], pa.list_(pa.int64()))
    prompts = build(requests.append_column("sequence_item_ids", choices))
    found = [_hash(prompts.column(name).to_pylist()) for name in ("prompt", "tokenized_prompt")]
    _check(found, PROMPTS[change], "dualrec.scoring.pipeline")


def test_scoring_answers(catalog: pa.Table) -> None:
    vectors = np.eye(len(catalog), dtype=np.float32) + 0.1 * np.tri(len(catalog), dtype=np.float32)
    chosen = Shortlister(
        catalog,
        vectors,
        load_settings(None, ["language.shortlist.neighbours=2"]).language.shortlist,
    )
    index = TitleIndex(catalog, 90.0)
    lines = parse_titles(
        "1. Toy Story (1995)\n- A Bug's Life\nSabrina (1954)\nSevn (1995)\nNo Such Movie (2001)", 5
    )
    found = [
        lines,
        [(one.item_id, one.match) for one in map(index.resolve, lines)],
        chosen([1, 2], [3]),
        _hash(shortlist_grammar(["One (2001)", "Two (2002)", "Three (2003)"], 2)),
    ]
    _check(found, ANSWERS, "dualrec.scoring.pipeline")


TRACE = {
    "item_ids": [1, 2],
    "sequence_item_ids": [3, 4, 5],
    "sequence_scores": [0.5, 0.3, 0.2],
    "titles": ["Sabrina (1954)", "Unheard Of (1999)", "Toy Story (1995)", "Seven (1995)"],
    "title_item_ids": [5, None, 1, 4],
    "title_similarities": [0.2, 0.9, 0.8, 0.4],
    "title_logprobs": None,
}
RANKED = TRACE | {
    "titles": ["Seven (1995)", "Heat (1995)"],
    "title_item_ids": [4, 3],
    "title_similarities": [0.4, 0.5],
    "title_logprobs": [-0.2, -2.0],
}


def test_ranking() -> None:
    lists = [
        make(trace)
        for trace in (TRACE, RANKED)
        for make in (
            lambda trace: fused_list(trace, 0.4, 5),
            lambda trace: paper_list(trace, 5),
            lambda trace: language_list(trace, 5),
        )
    ]
    random = np.random.default_rng(0)
    ndcg = {weight: random.random(40) + weight * (1 - weight) for weight in (0.0, 0.2, 0.5, 1.0)}
    found = [[(item.item_id, round(float(item.score), 4)) for item in items] for items in lists]
    _check([*found, choose_weight(ndcg, 0)], LISTS, "dualrec.ranking.lists")


def test_predictions() -> None:
    histories = histories_table(HISTORIES)
    cases = cut_cases(histories, np.arange(1, 7), "last_five")
    found = [
        _hash(cut_requests(histories, "last_five", "last_five", "free")),
        _hash(cut_requests(histories, "next_item", "next_item", "free")),
        _hash(vars(cases)),
        sampled(cases, 3, 0).user_ids.tolist(),
    ]
    _check(found, PREDICTIONS, "dualrec.evaluation.predictions")


def test_evaluate(catalog: pa.Table) -> None:
    cases = cut_cases(
        histories_table({1: [1, 2, 3, 4, 5, 6], 2: [6, 4, 5, 2, 1, 3]}),
        np.arange(1, 7),
        "last_five",
    )
    lists = np.zeros((2, LENGTH), np.int32)
    lists[0, :4], lists[1, :3] = [3, -1, 2, 6], [1, 2, 4]
    metrics = user_metrics(lists, cases.truth, cases.visible, item_facts(catalog, 10))
    found = [
        {name: _rounded(values) for name, values in metrics.items()},
        coverage(lists, 6),
        candidate_sets(cases, 40, 0).tolist(),
    ]
    _check(_hash(found), EVALUATED, "dualrec.evaluation.evaluate")


@pytest.mark.parametrize("name", MODULES)
def test_fit_baselines(name: str) -> None:
    cycle = [np.arange(start, start + 9) % 12 + 1 for start in range(24)]
    vectors = np.random.default_rng(0).standard_normal((12, 8)).astype(np.float32)
    items = Items(np.arange(12), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    system = baseline(name)
    parameters = {key: values[0] for key, values in system.ranges.items()}
    if "learning_rate" in parameters:
        parameters["learning_rate"] = 0.01  # two steps must show
    fitted = system.fit(
        TrainingData(items, cycle[:16], cycle[16:], BaselineSettings(epochs=2)), parameters
    )
    scores = system.scorer(fitted.state, items, parameters)([cycle[0], cycle[1][:2]])[
        :, [0, 5, 11]
    ].ravel()
    found, expected = [float(f"{score:.4g}") for score in scores], BASELINES[name]
    _check(
        found,
        pytest.approx(expected, abs=0.02 * max(map(abs, expected))),
        "dualrec.evaluation.fitting",
    )


def _rounded(values: Any) -> Any:
    return np.round(np.asarray(values, np.float64), 3).tolist()


# What each step made when its METHOD was set: digests, and numbers where they say more.
PREPARED = ["76c549b60bf1", [1, 2, 4, 5], "d9661e3a39fd", "6862610e844a"]
SEQUENCE_INPUTS = ["2cc4f603b604", "864d64caba48"]
SEQUENCE = [
    0.0,
    0.0,
    0.0,
    0.347,
    0.205,
    0.448,
    0.164,
    0.178,
    0.245,
    0.137,
    0.086,
    0.19,
    1.964,
    1.924,
]
FINETUNED = [
    "618a67e7ec95",
    "acc2c593d0fe",
    "02bec4782c01",
    [2, 3],
    "7c64a88bebe1",
    "4b5942c1e8d4",
    "6a96b3d21480",
]
PROMPTS = {
    "language.prompt=titles": ["3161b2a0abbc", "8d13d4c32704"],
    "language.prompt=paper": ["7326b0a142c2", "2ce2285ca505"],
    "language.mode=rank": ["9815da259531", "5fbe97eb3561"],
}
ANSWERS = [
    ["Toy Story (1995)", "A Bug's Life", "Sabrina (1954)", "Sevn (1995)", "No Such Movie (2001)"],
    [(1, "exact"), (2, "exact"), (5, "exact"), (None, "none"), (None, "none")],
    ["Heat (1995)", "Seven (Se7en) (1995)", "Sabrina (1954)"],
    "6d1f6b7ce92a",
]
LISTS = [
    [(5, 0.6321), (3, 0.6), (4, 0.5)],
    [(None, 0.9), (4, 0.4), (5, 0.2)],
    [(5, 1.0), (None, 0.5), (4, 0.3333)],
    [(4, -0.8024), (3, -1.2159), (5, -1.7657)],
    [(3, 0.5), (4, 0.4)],
    [(4, 1.0), (3, 0.5)],
    0.5,
]
PREDICTIONS = ["9eb7fba0683b", "3c91caf6ba4b", "cbfa1816c213", [3, 4, 5]]
EVALUATED = "81bc855194bd"
BASELINES = {
    "Random": [0.03191, 0.8316, 0.6123, 0.4464, 0.2838, 0.2842],
    "MostPop": [10.0, 13.0, 10.0, 10.0, 13.0, 10.0],
    "SKNN": [7.667, 10.33, 7.0, 4.007, 4.007, 3.064],
    "SLIM": [0.4799, 0.8965, 0.3379, 0.4799, 0.0, 0.008034],
    "FPMC": [-0.009755, -0.003433, -0.02511, -0.01337, -0.004237, 0.006591],
    "NARM": [-0.09345, 0.06733, -0.1435, -0.0344, 0.0103, -0.03829],
    "STAMP": [-0.004003, 0.0007787, -0.001985, -0.00417, 0.003188, -0.00274],
    "GCE-GNN": [-2.082, -0.09877, -0.4438, 0.04839, 0.5233, -0.1555],
    "MCPRN": [-0.1245, -0.06008, -0.07385, -0.05519, 0.02792, -0.04413],
    "HIDE": [-3.242, -1.846, -0.5751, 0.4717, -0.1571, -0.1463],
    "Atten-Mixer": [1.098, 4.898, 1.858, 1.206, 5.789, 0.8922],
    "UniSRec": [1.139, 1.011, 1.328, 1.328, 2.128, 1.274],
    "SASRec": [0.1243, -0.3529, -0.2185, -0.5915, 0.1327, -0.95],
}
