"""The view of a dashboard, and the building blocks of its panels: filter chips, rows and curl commands."""

import shlex
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from ovx_lite.domain.calendar import format_day
from ovx_lite.domain.models import Goal, Site
from ovx_lite.stats.filters import Condition
from ovx_lite.stats.summary import TopList
from ovx_lite.storage.annotations import Annotation
from ovx_lite.storage.rollups.value_limit import OTHER_LABEL
from ovx_lite.web.ui.dashboard.data import DashboardData
from ovx_lite.web.ui.dashboard.formatting import describe_filter, format_compact, format_value
from ovx_lite.web.ui.dashboard.state import DashboardState, operator_name

_MAX_LABEL_LENGTH, _MAX_TITLE_LENGTH = 300, 2000  # characters; anything longer only makes the page larger
_VISIBLE_LABEL_LENGTH = 40  # a longer label may be truncated on screen, so it also gets a title


class DashboardLocation(NamedTuple):
    """The location of a dashboard: its path (including the root), whether it is a public link, and the server's URL."""

    path: str
    is_public: bool
    server_url: str


class DashboardView(NamedTuple):
    """Everything that a dashboard is rendered from. `now_ms` (Unix ms) is when the data was read.

    `annotations` are those of the period.
    """

    site: Site
    state: DashboardState
    data: DashboardData
    location: DashboardLocation
    now_ms: int
    active_visitors: int = 0
    goals: Sequence[Goal] = ()
    annotations: Sequence[Annotation] = ()


def filter_chips(state: DashboardState, path: str) -> list[dict[str, str]]:
    """Return the text of each filter and the URL without it."""
    return [
        {"text": describe_filter(condition)[:_MAX_LABEL_LENGTH], "href": state.without_condition(condition).url(path)}
        for condition in state.filters
    ]


def curl_command(
    dashboard: DashboardView,
    dimensions: Sequence[str],
    metrics: Sequence[str] = ("visitors",),
    conditions: Iterable[Condition] = (),
    order_by: str = "",
) -> str:
    """Return the curl command of the Stats API query behind a panel; `""` on public links, which have no API key."""
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
    """Return the template values of a panel: the defaults, updated by `overrides`."""
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
    return {"key": key, "title": title, **defaults, "csv": csv, "empty": "No data in this period.", **overrides}


def build_row(
    label: str, number: int, max_number: int, href: str = "", secondary: str = "", value: str = ""
) -> dict[str, Any]:
    """Return the template values of a row. `max_number` is the number of the longest bar."""
    return {
        "label": label[:_MAX_LABEL_LENGTH],
        "title": label[:_MAX_TITLE_LENGTH] if len(label) > _VISIBLE_LABEL_LENGTH else "",
        "href": href,
        "bar_fraction": min(number / max_number, 1.0) if max_number > 0 else 0.0,
        "value": value or format_compact(number),
        "exact": f"{number:,}",
        "secondary": secondary,
    }


def top_list_rows(
    dashboard: DashboardView, dimension: str, top_list: TopList, total_visitors: int = 0
) -> list[dict[str, Any]]:
    """Return the rows of a top list. With `total_visitors`, each row also has its percentage of them."""
    state, path, max_visitors = dashboard.state, dashboard.location.path, top_list.rows[0][1] if top_list.rows else 0
    return [
        build_row(
            label=format_value(dimension, value),
            number=visitors,
            max_number=max_visitors,
            href="" if value == OTHER_LABEL else state.with_condition(Condition(dimension, "is", (value,))).url(path),
            secondary=f"{100 * visitors / total_visitors:.1f}%" if total_visitors else "",
        )
        for value, visitors in top_list.rows
    ]
