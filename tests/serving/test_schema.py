"""Questions that a machine makes up from the OpenAPI schema, allowed and not: each answer is one
that the schema tells."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode

from dualrec.serving.app import create_app
from dualrec.serving.snapshot import SnapshotWatch
from tests.serving.conftest import score_alone

TAKE_NOTHING = ("GET /health", "GET /metrics")  # so nothing that is asked of them is not allowed
OPERATIONS = (
    "GET /users/{user_id}/recommendations",
    "POST /recommendations",
    "GET /",
    *TAKE_NOTHING,
)
ASKED = [(name, GenerationMode.POSITIVE) for name in OPERATIONS]
ASKED += [(name, GenerationMode.NEGATIVE) for name in OPERATIONS if name not in TAKE_NOTHING]
EXACT = 2**53


def exact(case: Case) -> bool:
    """The maker of questions takes numbers for JavaScript's, and rounds the bounds of an id to
    numbers beyond them."""
    history = case.body.get("history") if isinstance(case.body, dict) else None
    numbers = (
        [one for one in history if isinstance(one, int | float)]
        if isinstance(history, list)
        else []
    )
    return all(abs(number) < EXACT for number in numbers)


@pytest.mark.parametrize(("name", "mode"), ASKED)
def test_every_answer_is_one_that_the_schema_tells(
    watch: SnapshotWatch, name: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(watch, score_alone))
    operations = {result.ok().label: result.ok() for result in schema.get_all_operations()}
    assert sorted(operations) == sorted(OPERATIONS)

    @given(case=operations[name].as_strategy(generation_mode=mode).filter(exact))
    @settings(
        max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    def ask(case: Case) -> None:
        case.call_and_validate()

    ask()
