import numpy as np

from dualrec.evaluation.answer_leak import reranked_against_answers

VECTORS: dict = {
    1: np.array([1.0, 0.0]),
    2: np.array([0.0, 1.0]),
    3: np.array([0.6, 0.8]),
    "Nowhere": np.array([-1.0, 0.0]),
}


def test_a_title_that_is_true_comes_first_whatever_the_models_thought() -> None:
    trace = {"sequence_item_ids": [1], "held_out": [2], "item_ids": [9], "title_item_ids": [None, 3, 2, 3, 9],
             "titles": ["Nowhere", "C", "B", "C", "I"]}  # fmt: skip
    assert reranked_against_answers(trace, VECTORS, 20) == [2, 3, None]
    assert reranked_against_answers(
        trace | {"held_out": [1], "sequence_item_ids": []}, VECTORS, 20
    ) == [3, 2, None]
