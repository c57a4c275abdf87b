"""Which answers of the language model the evaluation needs, and what makes other ones of them."""

import numpy as np
import pyarrow as pa
import pytest

from dualrec.config.settings import VariantSettings, load_settings
from dualrec.data.prepare import Prepared
from dualrec.evaluation.cases import Questions
from dualrec.evaluation.language_systems import IN_FORCE, settings_of
from dualrec.evaluation.predictions import predictions_name
from dualrec.evaluation.protocols import Cases, with_candidates
from dualrec.ranking.fusion import fusion_name

CASES = Cases(np.array([1]), [np.array([1])], [np.array([2])])
ASKED = {"next_item": CASES, "last_five": CASES}


def _name(
    catalog: pa.Table,
    *overrides: str,
    asked: dict[str, Cases] = ASKED,
    data: str = "v",
    truth: str = "v",
) -> str:
    prepared = Prepared(version=data, dataset="d", catalog=catalog, histories="h")
    return predictions_name(
        Questions(prepared, load_settings(None, [*overrides]), asked, {}, truth)
    )


@pytest.mark.parametrize(
    "change",
    [
        "evaluation.max_users=9",
        "evaluation.seed=1",
        "sequence.epochs=9",
        "sequence.top_k=9",
        "language.tuned=v1",
        "language.history_length=5",
        "language.decoding=shortlist",
        "language.temperature=1",
        "rerank.fuzzy_threshold=80",
    ],
)
def test_what_decides_the_answers_makes_another_version(catalog: pa.Table, change: str) -> None:
    assert _name(catalog) != _name(catalog, change)


def test_other_histories_hidden_movies_or_protocols_make_another_version(catalog: pa.Table) -> None:
    names = {_name(catalog), _name(catalog, data="w"), _name(catalog, truth="w")}
    names |= {_name(catalog, asked={name: CASES}) for name in ("next_item", "last_five")}
    assert len(names) == 5


@pytest.mark.parametrize(
    "change",
    ["evaluation.candidate_seeds=2", "evaluation.bootstrap_samples=9", "ranking.preset=paper", "baselines.trials=1",
     "language.engine.batch_size=4", "evaluation.variants=[{name: shuffled, shuffled: true}]"],
)  # fmt: skip
def test_what_only_measures_them_keeps_the_version(catalog: pa.Table, change: str) -> None:
    assert _name(catalog) == _name(catalog, change)


def test_candidates_are_ranked_by_the_answers_to_next_item(catalog: pa.Table) -> None:
    candidates = {"candidates_20": with_candidates(CASES, 6, range(1))}
    assert _name(catalog, asked={**ASKED, **candidates}) == _name(catalog)
    assert _name(catalog, asked=candidates) == _name(catalog, asked={"next_item": CASES})


def test_the_models_in_force_are_measured_with_the_weight_that_recommend_chose(
    catalog: pa.Table,
) -> None:
    prepared = Prepared(version="v", dataset="d", catalog=catalog, histories="h")
    settings = load_settings(None, ["language.tuned=current"])
    assert fusion_name(prepared, settings_of(settings, prepared, IN_FORCE)) == fusion_name(
        prepared, settings
    )
    other = VariantSettings(name="short", set={"language.history_length": 5})
    assert settings_of(settings, prepared, other).language.tuned not in (None, "current"), (
        "the model in force serves it"
    )
