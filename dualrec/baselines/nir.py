"""NIR: a language model as it comes, prompted three times, picks from candidates that similar users
have watched.

Wang and Lim 2023, "Zero-Shot Next-Item Recommendation using Large Pretrained Language Models": the
candidates come by user filtering, and the three prompts ask for the user's preferences, for the
most representative watched movies, and for ten candidates similar to those, each with the answers
before. Nothing is trained. Knows strings, arrays and the catalog; no engine.
"""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dualrec.baselines.baseline import Histories
from dualrec.baselines.sknn import incidence, neighbours
from dualrec.language.prompts.texts import Messages
from dualrec.language.titles import TitleIndex, display_title

NAME = "NIR"
REFERENCE = (
    "Wang and Lim 2023, Zero-Shot Next-Item Recommendation using Large Pretrained Language Models"
)
CANDIDATES_PER_USER = 19  # of each user, as published
SIMILAR_USERS = 12  # as published for ML-100K
RECOMMENDED_MOVIES = 10

QUESTIONS = (
    "Step 1: What features are most important to me when selecting movies "
    "(summarize my preferences briefly)?",
    "Step 2: Select the most featured movies from the watched movies according to my "
    "preferences in descending order (format: no. a watched movie).",
    f"Step 3: Can you recommend {RECOMMENDED_MOVIES} movies from the candidate set similar to "
    "the selected movies I have watched (format: no. a watched movie - a candidate movie)?",
)

_PAIR = re.compile(r"\s+[-–—]+>?\s+")


def filtered_candidates(histories: Histories, training: Histories, items: int) -> np.ndarray:
    """Return the unwatched items that most of the similar training users have watched, int32 (n,
    CANDIDATES_PER_USER), 0 fills up."""
    watched, others = incidence(histories, items), incidence(training, items)
    nearest = neighbours(watched, others, SIMILAR_USERS)
    counts = ((nearest > 0).astype(np.float32) @ others).toarray()
    counts[watched.nonzero()] = 0
    order = np.argsort(-counts, axis=1, kind="stable")[:, :CANDIDATES_PER_USER]
    return np.where(np.take_along_axis(counts, order, axis=1) > 0, order + 1, 0).astype(np.int32)


def step_messages(
    watched: Sequence[str], candidates: Sequence[str], answers: Sequence[str]
) -> Messages:
    """Return the prompt of the step that follows those answered."""
    said = "\n".join(
        f"{question}\nAnswer: {answer}"
        for question, answer in zip(QUESTIONS, answers, strict=False)
    )
    shown = [
        f"Candidate set (candidate movies): {_joined(candidates)}.",
        f"The movies I have watched (watched movies): {_joined(watched)}.",
        *([said] if said else []),
        f"{QUESTIONS[len(answers)]}\nAnswer:",
    ]
    return [{"role": "user", "content": "\n".join(shown)}]


def step_texts() -> list[Messages]:
    """Return the prompts of all steps for made-up movies: what is written around titles, for a
    version."""
    answers = ("one", "another")
    return [
        step_messages(["Watched"], ["Candidate"], answers[:step]) for step in range(len(QUESTIONS))
    ]


class CandidateReader:
    """Reads the last answer: which candidates it names, in order.

    Args:
        catalog: schema CATALOG.
        fuzzy_threshold: see RerankSettings.
    """

    def __init__(self, catalog: pa.Table, fuzzy_threshold: float) -> None:
        self.index = TitleIndex(catalog, fuzzy_threshold)

    def __call__(self, answer: str, candidates: Sequence[int]) -> list[int]:
        """The candidates' item ids, each once; what follows the last dash of a line is the
        candidate."""
        named = [
            self.index.resolve(_title(line)).item_id for line in answer.split("\n") if line.strip()
        ]
        return list(dict.fromkeys(item for item in named if item in set(candidates)))[
            :RECOMMENDED_MOVIES
        ]


def _title(line: str) -> str:
    """The part of a line that should be a title: after the last dash, without numbering and what
    follows the year."""
    part = re.sub(r"^\s*\d{1,2}[.):]\s*", "", _PAIR.split(line)[-1]).strip(" \"'.")
    year = re.search(r"\(\d{4}\)", part)
    return part[: year.end()] if year else part


def _joined(titles: Sequence[str]) -> str:
    return ", ".join(display_title(title) for title in titles)
