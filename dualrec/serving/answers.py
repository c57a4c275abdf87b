"""What is asked over HTTP, and what is answered: strict about every field, and what OpenAPI tells
of them."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dualrec.serving.night import MOST_RECOMMENDATIONS

MOST_MOVIES = 1000  # of a history that is asked about; the sequence model looks at the last of them
INT64 = 2**63


def _whole(value: Any) -> Any:
    return (
        int(value) if isinstance(value, float) and value.is_integer() else value
    )  # 1.0 is an integer in JSON Schema


Id = Annotated[int, Field(strict=True, ge=-INT64, lt=INT64), BeforeValidator(_whole)]
Length = Annotated[int, Field(strict=True, ge=1, le=MOST_RECOMMENDATIONS), BeforeValidator(_whole)]
UserId = Annotated[int, Path(ge=-INT64, lt=INT64, description="as in the interaction table")]
UserAsked = Annotated[
    int | None, Query(ge=-INT64, lt=INT64, description="whose history and list are shown")
]
LengthAsked = Annotated[
    int, Query(ge=1, le=MOST_RECOMMENDATIONS, description="how many movies at most")
]


class Question(BaseModel):
    """A history to be scored at once."""

    model_config = ConfigDict(extra="forbid")

    history: Annotated[list[Id], Field(max_length=MOST_MOVIES)] = Field(
        description="ids of the movies that were watched, oldest first",
        examples=[[260, 1196, 1210]],
    )
    length: Length = 10


class Movie(BaseModel):
    """A movie of a history."""

    item_id: int
    title: str


class Recommendation(BaseModel):
    """One place of a list."""

    rank: int
    item_id: int | None = Field(
        description="null where the language model wrote a title that no catalog has"
    )
    title: str
    year: int | None
    genres: list[str] | None
    score: float
    source: Literal["sequence", "language", "both", "popularity"]
    similar_history: list[Movie] = Field(description="the watched movies whose titles are nearest")


class ServedNight(BaseModel):
    """The published night that answered."""

    run_date: date
    number: int = Field(description="counts the publications of this date")
    run_id: str


class Answer(BaseModel):
    """A list."""

    night: ServedNight
    source: Literal["published", "sequence", "popularity"] = Field(
        description="the published list; else the sequence model's, for a history; else the most watched movies"
    )
    unknown_movies: int = Field(
        description="movies of the history that this night's catalog lacks, passed over"
    )
    recommendations: list[Recommendation]


class Refusal(BaseModel):
    """Why a question was not answered, where it is not one field that is wrong."""

    detail: str


class Health(BaseModel):
    """Whether the night that stands is the one that is served."""

    status: Literal["ok", "stale"] = Field(
        description="stale: a newer night stands and cannot be loaded"
    )
    night: ServedNight
    looked: datetime = Field(description="when the workspace was last looked at with success")
    failure: str | None
