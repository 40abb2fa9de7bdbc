"""`/openapi.json`: valid, and true to what the server takes and answers."""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from ovx_lite.dialects import ENDPOINTS
from ovx_lite.wire import Endpoint
from tests.conftest import Running

FUZZ = os.environ.get("OVX_FUZZ_CASES")  # for a long run, with other cases each time
CASES = int(FUZZ or 25)
FITTING = {(endpoint.site_field or "").rpartition(".")[2]: "my-site" for endpoint in ENDPOINTS} | {
    "url": "https://example.com/a",
    "timestamp": None,
    "ip_address": None,
    "revenue": None,
}
NAMED = {"event_name": "signup", "user_id": "somebody"}


@pytest.fixture(scope="module")
def described(running: Running) -> dict[str, Any]:
    answer = running.server.send("/openapi.json", method="GET")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    document: dict[str, Any] = answer.json
    return document


def test_it_is_valid_and_names_every_endpoint(described: dict[str, Any]) -> None:
    validate(described)
    assert described["openapi"].startswith("3.1")
    assert {endpoint.path for endpoint in ENDPOINTS} < set(described["paths"])


def fitting(body: Any) -> Any:
    """A generated body with our site in it and what no schema can say of URLs, so that more than this is met."""
    if isinstance(body, dict):
        named = NAMED if body.keys() & {"type", "event_type"} else {}
        return {name: FITTING.get(name, fitting(value)) for name, value in body.items()} | named
    return [fitting(item) for item in body] if isinstance(body, list) else body


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=[endpoint.path for endpoint in ENDPOINTS])
def test_every_answer_is_as_described(
    described: dict[str, Any], running: Running, endpoint: Endpoint, mode: GenerationMode
) -> None:
    operation = schemathesis.openapi.from_dict(described)[endpoint.path]["POST"]
    statuses = set()

    @settings(
        max_examples=CASES,
        derandomize=FUZZ is None,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), fit=st.booleans())
    def check(case: Case[Any], fit: bool) -> None:
        if fit and mode is GenerationMode.POSITIVE:
            case.body = fitting(case.body)
            if case.path_parameters:
                case.path_parameters["PROJECT_ID"] = "my-site"
        answer = case.call(base_url=running.server.url, headers={"Authorization": f"Bearer {running.key}"})
        statuses.add(answer.status_code)
        # What a schema cannot say (that a time is not far ahead, say) is refused all the same.
        # And 413 is an answer to wrong data, too, which schemathesis does not know.
        unfit = [negative_data_rejection] if answer.status_code == 413 else []
        case.validate_response(answer, excluded_checks=[positive_data_acceptance, *unfit])

    check()
    assert 400 in statuses or mode is GenerationMode.POSITIVE
    assert (endpoint.status in statuses) is (mode is GenerationMode.POSITIVE)
