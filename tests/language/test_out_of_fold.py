"""The hints of an example are out-of-fold predictions."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
import torch

from dualrec.config.settings import load_settings
from dualrec.language.examples import FUTURE_TARGETS, several_cuts
from dualrec.language.out_of_fold import SequenceHints
from dualrec.sequence.features import item_features
from dualrec.sequence.network import SequenceEnsemble, save_ensemble
from dualrec.sequence.predict import SequencePredictor
from tests.conftest import histories_table


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_hints_and_expectations_are_of_the_model_of_the_users_fold(
    catalog: pa.Table, tmp_path: Path
) -> None:
    settings = load_settings(None, ["sequence.hidden=[16,8]", "sequence.dense=8"]).sequence
    weights = []
    for seed in range(2):
        torch.manual_seed(seed)
        save_ensemble(
            SequenceEnsemble(item_features(catalog, settings), settings),
            tmp_path / "model.safetensors",
        )
        weights.append((tmp_path / "model.safetensors").read_bytes())
    examples = several_cuts(
        histories_table({user: [1, 2, 3, 4, 5, 6] for user in range(20)}),
        1,
        FUTURE_TARGETS,
        3,
        seed=0,
    )
    hinted = SequenceHints(ray.put(weights), settings)(examples)
    alone = [SequencePredictor(one, settings) for one in weights]
    assert set(hinted.column("fold").to_pylist()) == {0, 1}
    hints_of_other_model = 0
    for row in hinted.to_pylist():
        history = [np.array(row["item_ids"], np.int64)]
        best, scores = alone[row["fold"]].top_items(history)
        assert row["sequence_item_ids"] == [best[0][0]]
        score_of = dict(zip(best[0].tolist(), scores[0].tolist(), strict=True))
        assert row["next_probabilities"] == pytest.approx(
            [score_of[item] for item in row["next_ids"]]
        )
        hints_of_other_model += alone[1 - row["fold"]].top_items(history)[0][0][0] != best[0][0]
    assert hints_of_other_model, "the two models differ, so a mix-up would show"
    one_model = SequenceHints(ray.put(weights[:1]), settings)(examples).to_pylist()
    for row in one_model:
        best, _ = alone[0].top_items([np.array(row["item_ids"], np.int64)])
        assert row["sequence_item_ids"] == [best[0][0]]
    ranked = SequenceHints(ray.put(weights), settings, count=3)(examples).to_pylist()
    for row in ranked:
        best, _ = alone[row["fold"]].top_items([np.array(row["item_ids"], np.int64)])
        assert row["sequence_item_ids"] == best[0][:3].tolist()
