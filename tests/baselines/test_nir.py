import numpy as np
import pyarrow as pa

from dualrec.baselines.nir import (
    CANDIDATES_PER_USER,
    QUESTIONS,
    CandidateReader,
    filtered_candidates,
    step_messages,
)


def test_candidates_are_what_most_similar_users_watched_and_the_user_did_not() -> None:
    training = [np.array([1, 2, 3, 4]), np.array([1, 2, 3]), np.array([8, 9])]
    candidates = filtered_candidates([np.array([1, 2]), np.array([9])], training, 10)
    assert candidates.shape == (2, CANDIDATES_PER_USER if CANDIDATES_PER_USER < 10 else 10)
    assert candidates[0, :3].tolist() == [3, 4, 0]
    assert candidates[1, :2].tolist() == [8, 0]


def test_each_step_holds_the_answers_before_it() -> None:
    (first,) = step_messages(["Heat (1995)"], ["Bug's Life, A (1998)"], [])
    assert (
        first["content"].endswith(f"{QUESTIONS[0]}\nAnswer:")
        and "A Bug's Life (1998)" in first["content"]
    )
    (third,) = step_messages(["Heat (1995)"], ["Ran (1985)"], ["I like crime.", "1. Heat (1995)"])
    order = [
        third["content"].index(part)
        for part in (QUESTIONS[0], "I like crime.", QUESTIONS[1], QUESTIONS[2])
    ]
    assert order == sorted(order)


def test_the_answer_names_candidates_after_the_dash_and_nothing_else_counts(
    catalog: pa.Table,
) -> None:
    read = CandidateReader(catalog, 90.0)
    answer = (
        "1. Heat (1995) - Toy Story (1995)\n2. Heat (1995) - A Bug's Life (1998), since it is fun\n"
        "3. Sabrina (1954)\n4. Heat (1995) - Toy Story (1995)\n5. Heat (1995) - Casablanca (1942)"
    )
    assert read(answer, [1, 2, 4]) == [1, 2]
    assert read("", [1]) == []
