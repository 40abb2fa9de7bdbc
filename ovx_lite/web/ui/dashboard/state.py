"""The state of a dashboard, as its URL encodes it: period, comparison, filters and the tab of each panel. Pure."""

from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote, urlencode

import msgspec

from ovx_lite.domain.errors import ApiError
from ovx_lite.stats import date_ranges
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import MAX_CONDITIONS, OPERATORS, Condition, check_limits, parse_dimension

PERIODS = {
    "day": ("Today", "D"),
    "yesterday": ("Yesterday", "E"),
    "7d": ("Last 7 days", "W"),
    "28d": ("Last 28 days", "F"),
    "30d": ("Last 30 days", "T"),
    "91d": ("Last 91 days", "N"),
    "month": ("This month", "M"),
    "12mo": ("Last 12 months", "Y"),
    "all": ("All time", "A"),
}
"""The label and the keyboard shortcut of each period that the menu offers."""

COMPARISONS = {"none": "No comparison", "previous": "Previous period", "year": "Previous year"}

METRICS = {
    "visitors": "Visitors",
    "visits": "Visits",
    "pageviews": "Pageviews",
    "views_per_visit": "Views per visit",
    "bounce_rate": "Bounce rate",
    "visit_duration": "Visit duration",
}
"""The labels of the totals, each of which the chart can show."""

PANEL_TABS = {
    "pages": {"event:page": "Pages", "visit:entry_page": "Entry", "visit:exit_page": "Exit", "event:hostname": "Hosts"},
    "sources": {
        "visit:source": "Sources",
        "visit:channel": "Channels",
        "visit:referrer": "Referrers",
        "visit:utm_campaign": "Campaigns",
        "visit:utm_medium": "Mediums",
        "visit:utm_source": "UTM sources",
        "visit:utm_content": "Contents",
        "visit:utm_term": "Terms",
    },
    "places": {"visit:country": "Countries"},
    "devices": {"visit:browser": "Browsers", "visit:os": "OS", "visit:device": "Types"},
}
"""The tabs of each panel that ranks the values of a dimension; the first tab is the default."""

DIMENSION_NOUNS = {
    "event:page": ("Page", "pages"),
    "event:hostname": ("Host", "hosts"),
    "event:name": ("Event", "events"),
    "event:goal": ("Goal", "goals"),
    "visit:entry_page": ("Entry page", "entry pages"),
    "visit:exit_page": ("Exit page", "exit pages"),
    "visit:source": ("Source", "sources"),
    "visit:channel": ("Channel", "channels"),
    "visit:referrer": ("Referrer", "referrers"),
    "visit:utm_campaign": ("Campaign", "campaigns"),
    "visit:utm_medium": ("UTM medium", "mediums"),
    "visit:utm_source": ("UTM source", "UTM sources"),
    "visit:utm_content": ("UTM content", "contents"),
    "visit:utm_term": ("UTM term", "terms"),
    "visit:country": ("Country", "countries"),
    "visit:browser": ("Browser", "browsers"),
    "visit:os": ("Operating system", "operating systems"),
    "visit:device": ("Device", "devices"),
    "event:currency": ("Currency", "currencies"),
}
"""The singular (capitalised) and plural name of each dimension."""

_MAX_FILTER_LENGTH = 20_000  # characters of a filter in a URL
_URL_SAFE_CHARS = "/:-_.~ ()@!$'*+;="


class DashboardState(msgspec.Struct, frozen=True):
    """What the user has chosen. `first` and `last` (ISO dates) are set if the period is not one of `PERIODS`.

    `tabs` holds the panels whose tab is not the default, with that tab's dimension. `props` holds the one or two event
    properties whose values are counted together.
    """

    period: str = "30d"
    first: str = ""
    last: str = ""
    compare: str = "none"
    metric: str = "visitors"
    filters: tuple[Condition, ...] = ()
    tabs: tuple[tuple[str, str], ...] = ()
    props: tuple[str, ...] = ()
    embed: bool = False

    def tab(self, panel: str) -> str:
        """Return the dimension that a panel ranks."""
        return dict(self.tabs).get(panel) or next(iter(PANEL_TABS[panel]))

    def with_tab(self, panel: str, dimension: str) -> "DashboardState":
        """Return this state with another tab of a panel."""
        tabs = tuple((name, tab_dimension) for name, tab_dimension in self.tabs if name != panel)
        is_default = dimension == next(iter(PANEL_TABS[panel]))
        return msgspec.structs.replace(self, tabs=tabs if is_default else (*tabs, (panel, dimension)))

    def with_condition(self, condition: Condition) -> "DashboardState":
        """Return this state with a filter added. It replaces existing filters of the same dimension."""
        others = tuple(other for other in self.filters if other.dimension != condition.dimension)
        return msgspec.structs.replace(self, filters=(*others, condition), props=())

    def without_condition(self, condition: Condition) -> "DashboardState":
        """Return this state without a filter."""
        others = tuple(other for other in self.filters if other != condition)
        return msgspec.structs.replace(self, filters=others, props=())

    def url_params(self) -> list[tuple[str, str]]:
        """Return the query parameters of this state, without those that have their default."""
        params = [(name, value) for name, value in (("from", self.first), ("to", self.last)) if value]
        if not params and self.period != "30d":
            params.append(("period", self.period))
        defaults = {"compare": "none", "metric": "visitors"}
        params += [(name, getattr(self, name)) for name, value in defaults.items() if getattr(self, name) != value]
        params += [("f", encode_filter(condition)) for condition in self.filters]
        params += [(panel, dimension.partition(":")[2]) for panel, dimension in self.tabs]
        params += [("prop", key) for key in self.props]
        return [*params, ("embed", "1")] if self.embed else params

    def url(self, path: str) -> str:
        """Return the URL of this state at a path."""
        return f"{path}?{urlencode(self.url_params())}" if self.url_params() else path

    def date_range(self, now_ms: int, timezone: str, oldest_day: int | None) -> DateRange:
        """Return the period at `now_ms` (Unix ms). `oldest_day` is the day of the site's first event.

        Raises `ApiError` (`invalid_request`).
        """
        if not self.first:
            return date_ranges.from_name(self.period, now_ms, timezone, oldest_day)
        try:
            return date_ranges.from_text(self.first, self.last, timezone)
        except ValueError as exc:
            raise ApiError("invalid_request", str(exc), "from") from None

    def comparison_range(self, date_range: DateRange, timezone: str) -> DateRange | None:
        """Return the period to compare with; None without a comparison or if it would begin before 1970."""
        if self.compare == "none" or date_range.first_day - max(date_range.day_count, 366) < 0:
            return None
        return (
            date_ranges.previous_range(date_range, timezone)
            if self.compare == "previous"
            else date_ranges.previous_year_range(date_range, timezone)
        )


def parse_state(items: Sequence[tuple[str, str]]) -> DashboardState:
    """Parse the parameters of a URL; unknown ones are ignored.

    Raises `ApiError` (`invalid_request`) whose field is the invalid parameter.
    """
    values = dict(items)
    first, last = values.get("from", "")[:40], values.get("to", "")[:40]
    if bool(first) != bool(last):
        first = last = first or last
    if first:
        try:
            date_ranges.from_text(first[:10], last[:10], "UTC")
        except ValueError as exc:
            raise _invalid(str(exc), "from") from None
    filter_texts = [value for name, value in items if name == "f"]
    if len(filter_texts) > MAX_CONDITIONS or any(len(value) > _MAX_FILTER_LENGTH for value in filter_texts):
        raise _invalid(
            f"Give at most {MAX_CONDITIONS} filters, each of at most {_MAX_FILTER_LENGTH:,} characters.",
            "f",
        )
    filters = tuple(map(_parse_condition, filter_texts))
    check_limits(filters, "f")
    return DashboardState(
        period=_parse_choice(values, "period", PERIODS, "30d"),
        first=first[:10],
        last=last[:10],
        compare=_parse_choice(values, "compare", COMPARISONS, "none"),
        metric=_parse_choice(values, "metric", METRICS, "visitors"),
        filters=filters,
        tabs=tuple(_parse_tabs(values)),
        props=tuple(dict.fromkeys(value[:300] for name, value in items if name == "prop"))[:2],
        embed=values.get("embed") == "1",
    )


def _parse_tabs(values: dict[str, str]) -> list[tuple[str, str]]:
    chosen = []
    for panel, tabs in PANEL_TABS.items():
        if panel in values:
            by_name = {dimension.partition(":")[2]: dimension for dimension in tabs}
            chosen.append((panel, by_name[_parse_choice(values, panel, by_name, "")]))
    return chosen


def _parse_choice(values: dict[str, str], name: str, choices: Iterable[str], default: str) -> str:
    value = values.get(name, default)
    if value not in choices:
        raise _invalid(f"`{name}` must be one of {', '.join(choices)}.", name)
    return value


def encode_filter(condition: Condition) -> str:
    """Encode a filter for a URL: `is,source,google`. Commas and percent signs in values are escaped."""
    parts = (condition.dimension.partition(":")[2], *condition.values)
    return ",".join((operator_name(condition), *(quote(part, _URL_SAFE_CHARS) for part in parts)))


def operator_name(condition: Condition) -> str:
    """Return the name of a filter's operator in URLs and queries, for example `is_not`."""
    return f"{condition.operator}_not" if condition.negated else condition.operator


def _parse_condition(text: str) -> Condition:
    """Parse a filter such as `is,source,google`. Raises `ApiError` (`invalid_request`)."""
    operator_text, _, rest = text.partition(",")
    escaped_name, comma, values = rest.partition(",")
    dimension_name = unquote(escaped_name)
    if operator_text not in OPERATORS or not comma or "\0" in unquote(text):
        raise _invalid("`f` must be a filter such as is,source,google or contains_not,page,/blog.", "f")
    names = (f"event:{dimension_name}", f"visit:{dimension_name}")
    dimension = parse_dimension(
        next((name for name in names if name in DIMENSION_NOUNS), names[0]), "f", allow_time=False
    )
    condition = Condition(
        dimension,
        operator_text.removesuffix("_not"),
        tuple(map(unquote, values.split(","))),
        operator_text.endswith("_not"),
    )
    if condition.dimension == "event:goal" and condition.operator != "is":
        raise _invalid("A filter by goal must use is or is_not with the goal's name.", "f")
    return condition


def _invalid(message: str, field: str) -> ApiError:
    return ApiError("invalid_request", message, field)
