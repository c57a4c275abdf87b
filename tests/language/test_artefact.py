import pyarrow as pa
import pytest

from dualrec.data.prepare import Prepared
from dualrec.language.artefact import language_version
from dualrec.settings import load_settings


def _version(prepared: Prepared, *overrides: str) -> str:
    return language_version(prepared, load_settings(None, [*overrides]))


@pytest.fixture
def prepared(catalogue: pa.Table) -> Prepared:
    """Histories of which only the version matters."""
    return Prepared(version="v", dataset="d", catalogue=catalogue, histories="h")


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


@pytest.mark.parametrize("change", ["language.decoding=shortlist", "language.temperature=1", "finetune.zero_stage=3"])
def test_what_changes_no_example_keeps_the_version(prepared: Prepared, change: str) -> None:
    assert _version(prepared) == _version(prepared, change)


def test_the_number_of_candidates_matters_where_items_are_ranked_only(prepared: Prepared) -> None:
    fewer, rank = "language.rank_candidates=5", "language.mode=rank"
    assert _version(prepared) == _version(prepared, fewer)
    assert _version(prepared, rank) != _version(prepared, rank, fewer)
