"""The Stats API: `POST /api/v1/stats/query`, as well at `/api/v2/query`, and `GET /api/v1/stats/realtime`."""

import sqlite3
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite.dialects.schema import Faulty, parse
from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.errors import Refused, no_such_site
from ovx_lite.domain.models import Site
from ovx_lite.stats import date_ranges, query
from ovx_lite.stats.date_ranges import Period
from ovx_lite.stats.filters import TIMES, All, Filter, Not, Some, Test
from ovx_lite.stats.query import Query
from ovx_lite.storage.priority import API_KEYS, Asker
from ovx_lite.storage.read import events
from ovx_lite.storage.read import query_runner as store
from ovx_lite.storage.write import alerts
from ovx_lite.web.common.context import Doors, desk, run_query

_LARGEST = 1024 * 1024
_anything = msgspec.json.Decoder(Any)
_object = msgspec.json.Decoder(dict[str, Any])


async def query_stats(request: Request) -> Response:
    """`POST /api/v1/stats/query`: the numbers that a query asks for."""
    place = desk(request)
    body = await place.body(request, _LARGEST)
    document = parse(body, _anything)
    named = document.get("site_id") if isinstance(document, dict) else None
    site = await place.stats_site(_authorization(request), named if isinstance(named, str) else "")
    if isinstance(document, Faulty):
        raise document.problem
    if not isinstance(document, dict) or not isinstance(named, str):
        raise Refused("invalid_request", "A query is a JSON object, with the site's id in site_id.", "site_id")
    if named != site.id:
        raise no_such_site("site_id")
    return _json(await run_query(request, Asker(API_KEYS, site.id), _answer_to, site, body))


async def realtime(request: Request) -> Response:
    """`GET /api/v1/stats/realtime?site_id=`: how many visitors are active now, that is in the last 5 minutes."""
    place, asked = desk(request), request.query_params.get("site_id", "")
    site = await place.stats_site(_authorization(request), asked)
    if not asked:
        raise Refused("invalid_request", "Missing required field: site_id, in the query string.", "site_id")
    if asked != site.id:
        raise no_such_site("site_id")
    return _json({"active_visitors": await run_query(request, Asker(API_KEYS, site.id), alerts.active, site.number)})


def _authorization(request: Request) -> str:
    return request.headers.get("authorization", "")


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"Cache-Control": "no-store"})


def _answer_to(conn: sqlite3.Connection, now: int, site: Site, body: bytes) -> dict[str, Any]:
    """The whole answer to a query that is the JSON object `body`: bytes, unlike objects, can be compared quickly."""
    return answer(conn, site, _object.decode(body), now)


def answer(conn: sqlite3.Connection, site: Site, document: dict[str, Any], now: int) -> dict[str, Any]:
    """The whole answer to a query at `now` (Unix ms), as JSON. Raises `Refused`."""
    oldest = events.oldest(conn, site.number)
    first = None if oldest is None else local_day(oldest, site.timezone)
    parsed = query.parse(document, site.timezone, now, first)
    told = store.answer(conn, site, parsed)
    if parsed.time_labels:
        times = [word for word in parsed.dimensions if word in TIMES]
        if not times:
            message = "time_labels are of times: add a dimension such as time:day."
            raise Refused("invalid_request", message, "include.time_labels")
        told["meta"]["time_labels"] = date_ranges.labels(parsed.period, times[0], site.timezone)
    return told | {"query": shown(site, parsed)}


def shown(site: Site, query: Query) -> dict[str, Any]:
    """A query as it was understood, as JSON."""
    told: dict[str, Any] = {
        "site_id": site.id,
        "metrics": query.metrics,
        "date_range": _range(query.period, site.timezone),
        "dimensions": query.dimensions,
        "filters": [_filter(one) for one in query.filters],
        "order_by": [[name, "desc" if greatest_first else "asc"] for name, greatest_first in query.order],
        "pagination": {"limit": query.limit, "offset": query.offset},
    }
    if query.compared is not None:
        told["comparison_date_range"] = _range(query.compared, site.timezone)
    return told


def _range(period: Period, timezone: str) -> list[str]:
    """The first and the last second of a period, by the site's clocks."""
    zone = ZoneInfo(timezone)
    ends = (period.since // 1000, max(period.until - 1000, period.since) // 1000)
    return [datetime.fromtimestamp(end, UTC).astimezone(zone).isoformat() for end in ends]


def _filter(one: Filter) -> list[Any]:
    if isinstance(one, Not):
        return ["not", _filter(one.inner)]
    if isinstance(one, All | Some):
        return ["and" if isinstance(one, All) else "or", [_filter(inner) for inner in one.inner]]
    assert isinstance(one, Test), "there is no other filter"
    told = [f"{one.operator}_not" if one.negated else one.operator, one.dimension, list(one.values)]
    return [*told, {"case_sensitive": False}] if one.folded else told


OPEN: Doors = [
    ("POST", "/api/v1/stats/query", query_stats),
    ("POST", "/api/v2/query", query_stats),
    ("GET", "/api/v1/stats/realtime", realtime),
]
