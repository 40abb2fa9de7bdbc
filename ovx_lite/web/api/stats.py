"""The Stats API: `POST /api/v1/stats/query`, also at `/api/v2/query`, and `GET /api/v1/stats/realtime`."""

from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.dialects.schema import InvalidDocument, decode_body
from ovx_lite.domain.calendar import SECOND_MS, local_day
from ovx_lite.domain.errors import ApiError, no_such_site
from ovx_lite.domain.models import Site
from ovx_lite.stats import date_ranges, query, query_results
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import TIME_DIMENSIONS, AllOf, AnyOf, Condition, Filter, Not
from ovx_lite.stats.query import Query
from ovx_lite.storage.engine import EventReader
from ovx_lite.storage.priority import API_KEYS, Requester
from ovx_lite.web.common.context import RouteTable, context, run_query

_MAX_BODY_BYTES = 1024 * 1024
_any_decoder = msgspec.json.Decoder(Any)
_object_decoder = msgspec.json.Decoder(dict[str, Any])


async def query_stats(request: Request) -> Response:
    """`POST /api/v1/stats/query`: the results of a query (docs/stats-api.md)."""
    ui = context(request)
    body = await ui.read_body(request, _MAX_BODY_BYTES)
    document = decode_body(body, _any_decoder)
    site_slug = document.get("site_id") if isinstance(document, dict) else None
    site = await ui.stats_site(_authorization(request), site_slug if isinstance(site_slug, str) else "")
    if isinstance(document, InvalidDocument):
        raise document.problem
    if not isinstance(document, dict) or not isinstance(site_slug, str):
        raise ApiError("invalid_request", "The query must be a JSON object with the site's ID in site_id.", "site_id")
    if site_slug != site.slug:
        raise no_such_site("site_id")
    return _json_response(await run_query(request, Requester(API_KEYS, site.slug), _run_encoded_query, site, body))


async def realtime(request: Request) -> Response:
    """`GET /api/v1/stats/realtime?site_id=`: the number of visitors who were active in the last 5 minutes."""
    ui, site_slug = context(request), request.query_params.get("site_id", "")
    site = await ui.stats_site(_authorization(request), site_slug)
    if not site_slug:
        raise ApiError("invalid_request", "Missing required parameter: add site_id to the query string.", "site_id")
    if site_slug != site.slug:
        raise no_such_site("site_id")
    return _json_response(
        {"active_visitors": await run_query(request, Requester(API_KEYS, site.slug), _count_active_visitors, site.id)}
    )


def _authorization(request: Request) -> str:
    return request.headers.get("authorization", "")


def _json_response(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"Cache-Control": "no-store"})


def _count_active_visitors(reader: EventReader, now_ms: int, site_id: int) -> int:
    return reader.count_active_visitors(site_id, now_ms)


def _run_encoded_query(reader: EventReader, now_ms: int, site: Site, body: bytes) -> dict[str, Any]:
    """Return the response to the query in `body`. It takes bytes, which `run_query` can compare and hash quickly."""
    return run_query_document(reader, site, _object_decoder.decode(body), now_ms)


def run_query_document(reader: EventReader, site: Site, document: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """Return the response to a query, as JSON. Raises `ApiError` if the query is not valid."""
    oldest_ms = reader.oldest_event_ms(site.id)
    first_day = None if oldest_ms is None else local_day(oldest_ms, site.timezone)
    parsed = query.parse(document, site.timezone, now_ms, first_day)
    response = query_results.build(parsed, site.timezone, partial(reader.groups, site, parsed))
    if parsed.time_labels:
        time_dimensions = [dimension for dimension in parsed.dimensions if dimension in TIME_DIMENSIONS]
        if not time_dimensions:
            message = "time_labels needs a time dimension: add one, such as time:day."
            raise ApiError("invalid_request", message, "include.time_labels")
        response["meta"]["time_labels"] = date_ranges.bucket_labels(
            parsed.date_range, time_dimensions[0], site.timezone
        )
    return response | {"query": query_to_json(site, parsed)}


def query_to_json(site: Site, query: Query) -> dict[str, Any]:
    """Return a query as JSON, with all defaults filled in."""
    document: dict[str, Any] = {
        "site_id": site.slug,
        "metrics": query.metrics,
        "date_range": _date_range_to_json(query.date_range, site.timezone),
        "dimensions": query.dimensions,
        "filters": [_filter_to_json(condition) for condition in query.filters],
        "order_by": [[name, "desc" if descending else "asc"] for name, descending in query.order_by],
        "pagination": {"limit": query.limit, "offset": query.offset},
    }
    if query.comparison_range is not None:
        document["comparison_date_range"] = _date_range_to_json(query.comparison_range, site.timezone)
    return document


def _date_range_to_json(date_range: DateRange, timezone: str) -> list[str]:
    """Return the first and the last second of a date range, in ISO 8601 with the site's UTC offset."""
    zone = ZoneInfo(timezone)
    bounds_s = (
        date_range.since_ms // SECOND_MS,
        max(date_range.until_ms - SECOND_MS, date_range.since_ms) // SECOND_MS,
    )
    return [datetime.fromtimestamp(bound_s, UTC).astimezone(zone).isoformat() for bound_s in bounds_s]


def _filter_to_json(condition: Filter) -> list[Any]:
    if isinstance(condition, Not):
        return ["not", _filter_to_json(condition.inner)]
    if isinstance(condition, AllOf | AnyOf):
        return ["and" if isinstance(condition, AllOf) else "or", [_filter_to_json(inner) for inner in condition.inner]]
    assert isinstance(condition, Condition), "all other filter types are handled above"
    parts = [
        f"{condition.operator}_not" if condition.negated else condition.operator,
        condition.dimension,
        list(condition.values),
    ]
    return [*parts, {"case_sensitive": False}] if condition.ignore_case else parts


PUBLIC_ROUTES: RouteTable = [
    ("POST", "/api/v1/stats/query", query_stats),
    ("POST", "/api/v2/query", query_stats),
    ("GET", "/api/v1/stats/realtime", realtime),
]
