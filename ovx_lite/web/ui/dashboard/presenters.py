"""What is shown of a site, and how numbers, words, filters and rows look."""

import shlex
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain import countries
from ovx_lite.domain.calendar import format_day
from ovx_lite.domain.models import Site
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import Condition
from ovx_lite.storage.rollups.value_limit import OTHER_LABEL
from ovx_lite.web.ui.dashboard.data import DashboardData, TopList
from ovx_lite.web.ui.dashboard.state import DashboardState, describe_filter, operator_name

_MAX_LABEL_LENGTH = 300  # characters of a label; the rest is not worth its bytes


class DashboardLocation(NamedTuple):
    """Where a dashboard is: its path, with the root; whether for all who have its link; the server's URL."""

    path: str
    is_public: bool
    server_url: str


class DashboardView(NamedTuple):
    """A dashboard that is put together: what is shown of a site, where, as of when (Unix ms); and who is there now."""

    site: Site
    state: DashboardState
    data: DashboardData
    location: DashboardLocation
    now_ms: int
    active_visitors: int = 0


def filter_chips(state: DashboardState, path: str) -> list[dict[str, str]]:
    """The filters, and where each is taken away."""
    return [
        {"text": describe_filter(condition)[:_MAX_LABEL_LENGTH], "href": state.without_condition(condition).url(path)}
        for condition in state.filters
    ]


def format_date_range(date_range: DateRange) -> str:
    """A period in words: `23 Oct – 21 Nov 2026`."""
    first, last = (date.fromisoformat(format_day(day)) for day in (date_range.first_day, date_range.last_day))
    last_text = f"{last.day} {last:%b %Y}"
    if first == last:
        return last_text
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} – {last_text}"
    return f"{first.day} {first:%b}{'' if first.year == last.year else f' {first.year}'} – {last_text}"


def format_compact(number: int) -> str:
    """A count in few letters: `12.3k`."""
    for limit, suffix in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= limit * 0.9995:
            scaled = number / limit
            return (f"{scaled:.1f}" if scaled < 99.95 else f"{scaled:.0f}").removesuffix(".0") + suffix
    return f"{number}"


def format_value(dimension: str, value: str) -> str:
    """What stands in a dimension, as people read it."""
    if not value:
        return "(unknown)"
    return countries.name(value) if dimension == "visit:country" else value


def curl_command(
    dashboard: DashboardView,
    dimensions: Sequence[str],
    metrics: Sequence[str] = ("visitors",),
    conditions: Iterable[Condition] = (),
    order_by: str = "",
) -> str:
    """The call of the API behind a panel, as a shell takes it; none for those who may not call it."""
    site, state, data, location, *_ = dashboard
    if location.is_public:
        return ""
    query: dict[str, Any] = {
        "site_id": site.slug,
        "metrics": metrics,
        "date_range": [format_day(data.date_range.first_day), format_day(data.date_range.last_day)],
        "dimensions": dimensions,
        "filters": [
            [operator_name(condition), condition.dimension, condition.values]
            for condition in (*state.filters, *conditions)
        ],
        "order_by": [[order_by, "desc"]] if order_by else [],
    }
    body = msgspec.json.encode({key: value for key, value in query.items() if value}).decode()
    url = shlex.quote(f"{location.server_url}/api/v1/stats/query")
    return f"curl {url} -H 'Authorization: Bearer YOUR_API_KEY' -d {shlex.quote(body)}"


def build_panel(dashboard: DashboardView, key: str, title: str, **overrides: Any) -> dict[str, Any]:
    """A panel, as its template takes it: what is usual, and the rest."""
    defaults = {
        "tabs": [],
        "column": title,
        "unit": "Visitors",
        "rows": [],
        "more": "",
        "more_label": "",
        "curl": "",
        "note": "",
    }
    csv = dashboard.state.url(f"{dashboard.location.path}/csv/{key}")
    return {"key": key, "title": title, **defaults, "csv": csv, "empty": "Nothing in this period.", **overrides}


def build_row(
    label: str, number: int, max_number: int, href: str = "", second: str = "", value: str = ""
) -> dict[str, Any]:
    """A row of a panel; `most` is the number of the first."""
    return {
        "label": label[:_MAX_LABEL_LENGTH],
        "title": label[:2000] if len(label) > 40 else "",
        "href": href,
        "bar_fraction": min(number / max_number, 1.0) if max_number > 0 else 0.0,
        "value": value or format_compact(number),
        "exact": f"{number:,}",
        "secondary": second,
    }


def top_list_rows(
    dashboard: DashboardView, dimension: str, top_list: TopList, total_visitors: int = 0
) -> list[dict[str, Any]]:
    """The rows of a ranking; `of` is how many visitors a rate is of, 0 for none."""
    state, path, max_visitors = dashboard.state, dashboard.location.path, top_list.rows[0][1] if top_list.rows else 0
    return [
        build_row(
            format_value(dimension, value),
            visitors,
            max_visitors,
            "" if value == OTHER_LABEL else state.with_condition(Condition(dimension, "is", (value,))).url(path),
            f"{100 * visitors / total_visitors:.1f}%" if total_visitors else "",
        )
        for value, visitors in top_list.rows
    ]
