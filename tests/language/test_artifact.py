import pyarrow as pa
import pytest

from dualrec.config.settings import load_settings
from dualrec.data.prepare import Prepared
from dualrec.language import artifact
from dualrec.language.artifact import fold_settings, fold_version, language_version


def _version(prepared: Prepared, *overrides: str) -> str:
    return language_version(prepared, load_settings(None, [*overrides]))


@pytest.fixture
def prepared(catalog: pa.Table) -> Prepared:
    """Histories of which only the version matters."""
    return Prepared(version="v", dataset="d", catalog=catalog, histories="h")


@pytest.mark.parametrize(
    "change",
    [
        "language.mode=rank",
        "language.hint=false",
        "language.history_order=newest_first",
        "language.titles=2",
        "finetune.epochs=9",
    ],
)
def test_what_shapes_the_examples_makes_another_version(prepared: Prepared, change: str) -> None:
    assert _version(prepared) != _version(prepared, change)


@pytest.mark.parametrize(
    "change", ["language.decoding=shortlist", "language.temperature=1", "finetune.zero_stage=3"]
)
def test_what_changes_no_example_keeps_the_version(prepared: Prepared, change: str) -> None:
    assert _version(prepared) == _version(prepared, change)


def test_the_number_of_candidates_matters_where_items_are_ranked_only(prepared: Prepared) -> None:
    fewer, rank = "language.rank_candidates=5", "language.mode=rank"
    assert _version(prepared) == _version(prepared, fewer)
    assert _version(prepared, rank) != _version(prepared, rank, fewer)


def test_a_hint_is_of_one_network_whatever_the_ensemble(prepared: Prepared) -> None:
    pair, improved = (
        load_settings(None, [f"sequence.preset={name}"]) for name in ("pair", "improved")
    )
    assert (
        len(pair.sequence.members) == 2
        and fold_settings(pair).sequence.members == pair.sequence.members[:1]
    )
    assert fold_version(prepared, pair) == fold_version(prepared, improved)
    assert fold_version(prepared, pair) != fold_version(
        prepared, load_settings(None, ["sequence.epochs=1"])
    )


def test_other_models_that_hint_make_another_language_model(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts, published = _version(prepared), _version(prepared, "finetune.examples=published")
    monkeypatch.setattr(artifact, "fold_version", lambda data, settings: "another")
    assert _version(prepared) != cuts
    assert _version(prepared, "finetune.examples=published") == published, (
        "its hints are not out of fold"
    )
