"""`/openapi.json`: it is valid, and the server accepts and returns what it describes."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from schemathesis import BaseSchema, Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from ovx_lite.dialects import ENDPOINTS
from ovx_lite.stats.date_ranges import RANGE_NAMES
from ovx_lite.web.api.openapi import describe
from ovx_lite.web.api.openapi_stats import QUERY
from tests.conftest import CHROME, RunningSite
from tests.support.drawn import GOALS
from tests.support.queries import DIMENSION_LISTS, FILTERS, allowed_metrics

FUZZ = os.environ.get("OVX_FUZZ_CASES")  # for a long run with random cases
CASES = int(FUZZ or 10)
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
# From the document itself, so that the tests cover everything that it describes.
OPERATIONS = [
    (path, method, operation)
    for path, item in describe(ENDPOINTS)["paths"].items()
    for method, operation in item.items()
    if method in METHODS
]
VALID_VALUES = {(endpoint.site_field or "").rpartition(".")[2]: "my-site" for endpoint in ENDPOINTS} | {
    "url": "https://example.com/a",
    "timestamp": None,
    "ip_address": None,
    "revenue": None,
}
NAME_FIELDS = {"event_name": "signup", "user_id": "somebody"}

QUERIES = "/api/v1/stats/query", "/api/v2/query"
PROPERTY_VALIDATORS = {name: OAS31Validator(schema) for name, schema in QUERY["properties"].items()}
REQUIRED_PROPERTIES = QUERY["required"]
NOW = datetime.now(UTC).replace(microsecond=0)
DATES = st.tuples(*[st.sampled_from([-400, -91, -30, -7, -2, -1, 0, 1])] * 2).map(
    lambda days: [str(NOW.date() + timedelta(n)) for n in sorted(days)]
)
TIMES = st.tuples(*[st.integers(-50, 2)] * 2).map(
    lambda hours: [(NOW + timedelta(seconds=3599 * n)).isoformat() for n in sorted(hours)]
)
RANGES = st.one_of(st.sampled_from(RANGE_NAMES), DATES, TIMES)
COMPARISONS = st.one_of(
    st.sampled_from([{"mode": "previous_period"}, {"mode": "year_over_year"}]),
    st.builds(lambda period: {"mode": "custom", "date_range": period}, RANGES),
)
INCLUDES = st.fixed_dictionaries({}, optional={"total_rows": st.booleans(), "comparisons": COMPARISONS})
ORDER = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["asc", "desc"])), max_size=2)
VALID_PARTS = st.fixed_dictionaries(
    {"date_range": RANGES, "filters": st.lists(FILTERS, max_size=2), "include": INCLUDES, "order": ORDER},
    optional={"dimensions": DIMENSION_LISTS, "limit": st.integers(1, 9), "offset": st.integers(0, 2)},
)
"""Meaningful parts of queries: few of those that the schema allows make sense."""

TEXT = st.text(st.characters(codec="utf-8"), max_size=9)
UNUSED_INPUT = st.fixed_dictionaries(
    {"params": st.dictionaries(TEXT, TEXT, max_size=3), "json": st.lists(TEXT, max_size=3)}
)


@pytest.fixture(scope="module")
def openapi_document(running: RunningSite) -> dict[str, Any]:
    response = running.server.send("/openapi.json", method="GET")
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    document: dict[str, Any] = response.json
    return document


@pytest.fixture(scope="module")
def api(openapi_document: dict[str, Any]) -> BaseSchema:
    return schemathesis.openapi.from_dict(openapi_document)


@pytest.fixture(scope="module")
def visited(running: RunningSite) -> None:
    """Give my-site goals and visits of the last weeks, some with revenue, some with engagement times."""
    for name, event, path in GOALS:
        running.store.call("goal", "add", "my-site", name, *(("--event", event) if event else ("--path", path)))
    for days in range(0, 40, 3):
        visit_time = NOW - timedelta(days, 60)
        visitor = {"user_agent": CHROME, "ip_address": f"203.0.113.{days}", "timestamp": visit_time.isoformat()}
        views = [
            {"type": "pageview", "url": f"https://example.com{path}", "referrer": "https://google.com/", **visitor}
            for path in ("/?utm_source=Newsletter&utm_medium=email", "/blog/a")
        ]
        props = {"plan": "pro", "seats": days, "trial": True}
        signup = {"type": "custom", "event_name": "signup", "url": "https://example.com/", "props": props, **visitor}
        assert running.server.batch(running.key, *views, signup).status == 201
        purchase = {
            "event_type": "conversion",
            "event_name": "purchase",
            "url": "https://example.com/",
            "user_id": "ada",
        }
        revenue = {"revenue": 49, "currency": ["EUR", "JPY"][days > 30], "timestamp": visit_time.timestamp() * 1000}
        assert running.server.send("/v1/projects/my-site/events", purchase | revenue, running.key).status == 202
        engagement = {"type": "engagement", "visitorId": "v", "projectKey": "my-site", "url": "https://example.com/"}
        engagement_data = {"data": {"ms": 9000, "scroll": 80}, "timestamp": visit_time.isoformat()}
        assert running.server.send("/api/events", engagement | engagement_data).status == 200


def test_the_document_is_valid_and_lists_every_endpoint(openapi_document: dict[str, Any]) -> None:
    validate(openapi_document)
    assert openapi_document["openapi"].startswith("3.1")
    assert {endpoint.path for endpoint in ENDPOINTS} < set(openapi_document["paths"])
    served = [(path, method) for path, item in openapi_document["paths"].items() for method in item]
    assert served == [(path, method) for path, method, _ in OPERATIONS]


def fit_values(body: Any) -> Any:
    """Return a generated body with an existing site and a valid URL, so that it passes the first checks."""
    if isinstance(body, dict):
        name_fields = NAME_FIELDS if body.keys() & {"type", "event_type"} else {}
        return {name: VALID_VALUES.get(name, fit_values(value)) for name, value in body.items()} | name_fields
    return [fit_values(item) for item in body] if isinstance(body, list) else body


def fit_query(body: Any, valid_parts: dict[str, Any]) -> Any:
    """Return a generated query for my-site with `valid_parts`; its invalid and missing parts remain."""
    if not isinstance(body, dict):
        return body
    free = {
        name
        for name in PROPERTY_VALIDATORS
        if (PROPERTY_VALIDATORS[name].is_valid(body[name]) if name in body else name not in REQUIRED_PROPERTIES)
    }
    query: dict[str, Any] = body | {
        name: part for name, part in ({"site_id": "my-site"} | valid_parts).items() if name in free
    }
    if valid_parts and free >= {"metrics", "dimensions", "filters", "order_by"}:
        # No schema can say which metrics go with which dimensions and filters, or limit `order_by` to selected columns.
        dimensions, filters = query.get("dimensions") or [], query.get("filters") or []
        query["metrics"] = allowed_metrics(dimensions, filters, query["metrics"])
        names = [*query["metrics"], *dimensions]
        query["order_by"] = [
            [names[index % len(names)], direction] for index, direction in valid_parts.get("order", [])
        ]
    return query


def fit_case(case: Case[Any], path: str, valid_parts: dict[str, Any] | None) -> None:
    """Put my-site into a case, and `valid_parts` into queries."""
    if path in QUERIES:
        case.body = fit_query(case.body, valid_parts or {})
    elif valid_parts is not None:
        case.body = fit_values(case.body)
        for parameters, name in ((case.path_parameters, "PROJECT_ID"), (case.query, "site_id")):
            if name in (parameters or {}):
                parameters[name] = "my-site"


@pytest.mark.usefixtures("visited")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
@pytest.mark.parametrize(
    ("path", "method", "operation"), OPERATIONS, ids=[f"{method}-{path}" for path, method, _ in OPERATIONS]
)
def test_every_response_matches_the_document(
    api: BaseSchema, running: RunningSite, path: str, method: str, operation: dict[str, Any], mode: GenerationMode
) -> None:
    positive = mode is GenerationMode.POSITIVE
    # An endpoint without input cannot get invalid input, only unused input, which has no effect.
    has_input = bool(operation.get("parameters") or operation.get("requestBody"))
    strategy = api[path][method].as_strategy(generation_mode=mode if has_input else GenerationMode.POSITIVE)
    # Only invalid queries get valid parts: an invalid part is only reached if all other parts are valid.
    valid_parts_strategy: st.SearchStrategy[dict[str, Any] | None] = (
        VALID_PARTS if path in QUERIES else st.just({}) if positive and has_input else st.none()
    )
    unused_input_strategy = st.just({}) if positive or has_input else UNUSED_INPUT
    statuses, result_rows = set(), []

    @settings(
        max_examples=CASES if positive else 2 * CASES,  # the generator produces fewer distinct invalid cases
        derandomize=FUZZ is None,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, valid_parts=valid_parts_strategy | st.none(), unused_input=unused_input_strategy)
    def check(case: Case[Any], valid_parts: dict[str, Any] | None, unused_input: dict[str, Any]) -> None:
        fit_case(case, path, valid_parts)
        response = case.call(
            base_url=running.server.url, headers={"Authorization": f"Bearer {running.key}"}, **unused_input
        )
        statuses.add(response.status_code)
        if path in QUERIES and response.status_code == 200:
            result_rows.extend(response.json()["results"])
        # The server also rejects what a schema cannot express, for example a time far in the future.
        # And 413 is a valid response to invalid data, which schemathesis does not know.
        excluded_checks = [negative_data_rejection] if response.status_code == 413 else []
        case.validate_response(response, excluded_checks=[positive_data_acceptance, *excluded_checks])

    check()
    success_statuses = {int(status) for status in operation["responses"] if status.startswith("2")}
    assert statuses & (success_statuses if positive or not has_input else {400})
    if path in QUERIES and positive:
        assert any(any(row["metrics"]) for row in result_rows), "some visits must be in the results"


@pytest.mark.usefixtures("visited")
@pytest.mark.parametrize(
    "part",
    [
        *({name: None} for name in ("dimensions", "filters", "order_by", "limit", "offset", "pagination", "include")),
        *({"pagination": {name: None}} for name in ("limit", "offset")),
        *({"include": {name: None}} for name in ("total_rows", "time_labels", "comparisons")),
        *({"limit": 0, "pagination": page} for page in ({}, {"limit": 5})),
        *({"offset": "x", "pagination": page} for page in ({}, {"offset": 5})),
        *({"limit": 5.0}, {"pagination": {"offset": 5.0}}, {"include": {"else": True}}),
        *(
            {"include": {"comparisons": {"mode": "year_over_year", "date_range": date_range}}}
            for date_range in (7, "3d", "7d")
        ),
        {"include": {"comparisons": {"mode": "custom"}}},
    ],
    ids=str,
)
def test_a_rare_query_part_is_accepted_exactly_if_it_is_described(
    running: RunningSite, openapi_document: dict[str, Any], part: dict[str, Any]
) -> None:
    query = {"site_id": "my-site", "metrics": ["visitors"], "date_range": "7d"} | part
    response = running.server.send(QUERIES[0], query, running.key)
    is_described = OAS31Validator(openapi_document["components"]["schemas"]["StatsQuery"]).is_valid(query)
    assert response.status == (200 if is_described else 400), response.body


@pytest.mark.parametrize(("unit", "span"), [("time:minute", "7d"), ("time:hour", "6mo")])
def test_a_comparison_has_the_same_bucket_limit_as_a_query(running: RunningSite, unit: str, span: str) -> None:
    compared = {"include": {"comparisons": {"mode": "custom", "date_range": span}}}
    query = {"site_id": "my-site", "metrics": ["visitors"], "date_range": "day", "dimensions": [unit]} | compared
    assert running.server.send(QUERIES[0], query, running.key).status == 400
