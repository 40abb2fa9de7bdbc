"""All rows of a panel: on pages of 100 rows, and as CSV."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from ovx_lite.domain import money
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Site
from ovx_lite.stats import metrics
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.metrics import Counts
from ovx_lite.stats.query import Query
from ovx_lite.stats.summary import TopList
from ovx_lite.storage.engine import EventReader
from ovx_lite.web.ui.dashboard import data, presenters
from ovx_lite.web.ui.dashboard.formatting import format_date_range
from ovx_lite.web.ui.dashboard.presenters import DashboardLocation, DashboardView
from ovx_lite.web.ui.dashboard.state import DIMENSION_NOUNS, METRICS, PANEL_TABS, DashboardState

PAGE_SIZE = 100
_MAX_ROWS = 10_000
_INVISIBLE = re.compile(r"\A[\s\x00-\x1f\x7f-\xa0\xad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]+")
_VISIT_COLUMNS = ("visitors", "visits")
_EVENT_COLUMNS = ("visitors", "visits", "pageviews", "events")


class Table(NamedTuple):
    """A page of the values of a dimension in a period. `total` is the number of values on all pages."""

    date_range: DateRange
    rows: Sequence[tuple[str, Counts]]
    total: int
    page_number: int


def _columns_of(dimension: str) -> tuple[str, ...]:
    return _VISIT_COLUMNS if dimension.startswith("visit:") else _EVENT_COLUMNS


def _load_groups(
    reader: EventReader, site: Site, state: DashboardState, dimension: str, date_range: DateRange, max_rows: int
) -> tuple[list[tuple[str, Counts]], int]:
    """Return the values of a dimension with the most visitors, at most `max_rows`, and the number of all values."""
    top_groups, total = reader.top(site, date_range, (dimension,), state.filters, _columns_of(dimension), max_rows)
    return [(value, counts) for (value,), counts in top_groups], total


def load_table(
    reader: EventReader, now_ms: int, site: Site, state: DashboardState, dimension: str, page_number: int
) -> Table:
    """Load a page (the first is 1) of the values of a dimension. Raises `ApiError`."""
    date_range = state.date_range(now_ms, site.timezone, data.find_oldest_day(reader, site))
    page_number = min(page_number, _MAX_ROWS // PAGE_SIZE)
    offset = (page_number - 1) * PAGE_SIZE
    rows, total = _load_groups(reader, site, state, dimension, date_range, offset + PAGE_SIZE)
    return Table(date_range, rows[offset:], total, page_number)


def template_values(
    site: Site, state: DashboardState, dimension: str, table: Table, location: DashboardLocation
) -> dict[str, Any]:
    """Return the values of `top_list.html`, except for those that every page gets."""
    path, dimension_name, columns = location.path, dimension.partition(":")[2], _columns_of(dimension)
    table_path = f"{path}/top/{dimension_name}"
    max_visitors = max((counts.visitors for _, counts in table.rows), default=0)
    top_list = TopList([(value, counts.visitors) for value, counts in table.rows])
    dashboard = DashboardView(
        site=site, state=state, data=data.empty_dashboard(table.date_range), location=location, now_ms=0
    )
    rows = presenters.top_list_rows(dashboard, dimension, top_list)
    for row, (_, counts) in zip(rows, table.rows, strict=True):
        row["cells"] = [f"{getattr(counts, column):,}" for column in columns]
        row["bar_fraction"] = counts.visitors / max_visitors if max_visitors else 0.0
    noun, nouns = DIMENSION_NOUNS[dimension]
    panel = {
        "key": dimension_name,
        "title": f"All {nouns}",
        "tabs": [],
        "rows": rows,
        "more": "",
        "more_label": "",
        "csv": state.url(f"{path}/csv/{dimension_name}"),
        "curl": presenters.curl_command(dashboard, [dimension], columns),
        "note": "",
        "empty": f"No {nouns} in this period.",
    }
    return {
        "site": site,
        "chips": [
            {"text": chip["text"], "href": state.without_condition(condition).url(table_path)}
            for chip, condition in zip(presenters.filter_chips(state, path), state.filters, strict=True)
        ],
        "period_label": format_date_range(table.date_range),
        "back_url": state.url(path),
        "panel": panel,
        "column_names": [noun, *(METRICS.get(column, column.capitalize()) for column in columns)],
        "pager": {
            "previous_url": _page_url(state, table_path, table.page_number - 1) if table.page_number > 1 else "",
            "next_url": _page_url(state, table_path, table.page_number + 1)
            if min(table.total, _MAX_ROWS) > table.page_number * PAGE_SIZE
            else "",
        },
    }


def _page_url(state: DashboardState, path: str, page_number: int) -> str:
    url = state.url(path)
    return f"{url}{'&' if '?' in url else '?'}page={page_number}"


def load_csv(
    reader: EventReader, now_ms: int, site: Site, state: DashboardState, panel: str
) -> tuple[list[str], list[list[object]]]:
    """Return the header and the rows of a panel's CSV file. Raises `ApiError` (`not_found`)."""
    date_range = state.date_range(now_ms, site.timezone, data.find_oldest_day(reader, site))
    if panel == "events" and (prop_keys := _selected_props(reader, site, state, date_range)):
        prop_rows, _ = data.prop_values(reader, site, date_range, state.filters, prop_keys, _MAX_ROWS)
        return [*prop_keys, "visitors", "events"], [[*key, visitors, events] for key, visitors, events in prop_rows]
    dimension = state.tab(panel) if panel in PANEL_TABS else {"goals": "event:goal", "events": "event:name"}.get(panel)
    dimension = dimension or next((name for name in DIMENSION_NOUNS if name.partition(":")[2] == panel), None)
    if dimension is not None:
        return _dimension_csv(reader, site, state, dimension, date_range)
    if panel == "totals":
        return _totals_csv(reader, site, state, date_range)
    if panel == "revenue":
        return _revenue_csv(reader, site, state, date_range)
    if panel == "people":
        people_range = data.latest_days(date_range)
        people = [] if state.filters else reader.active_persons(site, people_range, _MAX_ROWS)[0]
        return ["person", "events"], [[user_id, events] for _, user_id, events in people]
    if panel == "excluded":
        reasons = [] if state.filters else reader.excluded_reasons(site, date_range, _MAX_ROWS).rows
        return ["reason", "events"], [[reason, events] for reason, events in reasons]
    raise ApiError("not_found", "The dashboard has no panel of this name.")


def _selected_props(reader: EventReader, site: Site, state: DashboardState, date_range: DateRange) -> tuple[str, ...]:
    """Return the properties that the events panel shows: those in the URL, or the most frequent one.

    Return none unless the filters select exactly one event name.
    """
    if not data.event_name_of(state.filters):
        return ()
    return state.props or tuple(reader.prop_names(site, date_range, state.filters)[:1])


def _dimension_csv(
    reader: EventReader, site: Site, state: DashboardState, dimension: str, date_range: DateRange
) -> tuple[list[str], list[list[object]]]:
    """Return the counts of a dimension's values; for goals, also their conversion rates."""
    columns = _columns_of(dimension)
    rows, _ = _load_groups(reader, site, state, dimension, date_range, _MAX_ROWS)
    header = [dimension.partition(":")[2], *columns]
    csv_rows: list[list[object]] = [[value, *(getattr(counts, column) for column in columns)] for value, counts in rows]
    if dimension != "event:goal":
        return header, csv_rows
    # A filter by goal hides the other visitors, so there is no total to compute a rate from.
    total_visitors = 0
    if all(condition.dimension != dimension for condition in state.filters):
        total_visitors = data.count_visitors(reader, site, date_range, state.filters)
    metric_inputs = (metrics.MetricInputs(counts, total_visitors) for _, counts in rows)
    rates = (metrics.compute_metric("conversion_rate", inputs) for inputs in metric_inputs)
    return [*header, "conversion_rate"], [[*row, rate] for row, rate in zip(csv_rows, rates, strict=True)]


def _totals_csv(
    reader: EventReader, site: Site, state: DashboardState, date_range: DateRange
) -> tuple[list[str], list[list[object]]]:
    """Return the metrics for each point of the chart."""
    time_unit = data.time_unit_of(date_range)
    query = Query(tuple(METRICS), date_range, (time_unit,), state.filters)
    groups = dict(reader.groups(site, query, date_range))
    csv_rows: list[list[object]] = [[key, *metrics.compute_metrics(query, groups[key,])] for (key,) in sorted(groups)]
    return [time_unit.partition(":")[2], *METRICS], csv_rows


def _revenue_csv(
    reader: EventReader, site: Site, state: DashboardState, date_range: DateRange
) -> tuple[list[str], list[list[object]]]:
    """Return the number, the sum and the average of the transactions in each currency."""
    csv_rows: list[list[object]] = []
    for currency, (transactions, amount_minor) in reader.revenue(site, date_range, state.filters).items():
        average_minor = round(amount_minor / transactions)
        amounts = (money.format_amount(value_minor, currency) for value_minor in (amount_minor, average_minor))
        csv_rows.append([currency, transactions, *amounts])
    return ["currency", "events", "total", "average"], csv_rows


def escape_formula(cell: object) -> object:
    """Return a cell of a CSV file; prefix it with an apostrophe if a spreadsheet could take it for a formula.

    Spreadsheets skip leading white space and treat the full-width and other forms of `=+-@` as these characters.
    """
    if not isinstance(cell, str):
        return "" if cell is None else cell
    first_char = _INVISIBLE.sub("", cell, count=1)[:1]
    if cell[:1] in ("\t", "\r", "\n") or (first_char and unicodedata.normalize("NFKC", first_char) in "=+-@"):
        return f"'{cell}"
    return cell
