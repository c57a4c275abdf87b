"""Requests and responses of the HTTP interface, strict about every field, with their OpenAPI
descriptions. Knows no routes."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dualrec.serving.snapshot import MAX_RECOMMENDATIONS

MAX_HISTORY = 1000  # movies of a posted history; the sequence model uses the last of them
INT64 = 2**63


def _accept_whole_float(value: Any) -> Any:
    # 1.0 is an integer in JSON Schema.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Id = Annotated[int, Field(strict=True, ge=-INT64, lt=INT64), BeforeValidator(_accept_whole_float)]
Length = Annotated[
    int, Field(strict=True, ge=1, le=MAX_RECOMMENDATIONS), BeforeValidator(_accept_whole_float)
]
UserId = Annotated[int, Path(ge=-INT64, lt=INT64, description="as in the interaction table")]
UserQuery = Annotated[
    int | None, Query(ge=-INT64, lt=INT64, description="whose history and list are shown")
]
LengthQuery = Annotated[
    int, Query(ge=1, le=MAX_RECOMMENDATIONS, description="how many movies at most")
]


class ListRequest(BaseModel):
    """A history to be scored at once."""

    model_config = ConfigDict(extra="forbid")

    history: Annotated[list[Id], Field(max_length=MAX_HISTORY)] = Field(
        description="ids of the movies that were watched, oldest first",
        examples=[[260, 1196, 1210]],
    )
    length: Length = 10


class Movie(BaseModel):
    """A movie of a history."""

    item_id: int
    title: str


class Recommendation(BaseModel):
    """One movie of a list."""

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


class ServedSnapshot(BaseModel):
    """The published snapshot behind a response."""

    run_date: date
    number: int = Field(description="counts the publications of this date")
    run_id: str


class ListResponse(BaseModel):
    """A list."""

    snapshot: ServedSnapshot
    source: Literal["published", "sequence", "popularity"] = Field(
        description="the published list; else the sequence model's, for a history; "
        "else the most watched movies"
    )
    unknown_movies: int = Field(
        description="movies of the history that the snapshot's catalog lacks, ignored"
    )
    recommendations: list[Recommendation]


class ErrorResponse(BaseModel):
    """Why a request failed, where it is not one field that is wrong."""

    detail: str


class Health(BaseModel):
    """Whether the served snapshot is the active one."""

    status: Literal["ok", "stale"] = Field(
        description="stale: a newer snapshot is active and cannot be loaded"
    )
    snapshot: ServedSnapshot
    checked: datetime = Field(description="when the workspace was last read with success")
    failure: str | None
