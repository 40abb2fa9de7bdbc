"""What a dashboard shows, as its URL says: period, comparison, filters, which tab of each panel. Pure."""

from collections.abc import Sequence
from urllib.parse import quote, unquote, urlencode

import msgspec

from ovx_lite.domain.errors import Refused
from ovx_lite.stats import date_ranges
from ovx_lite.stats.date_ranges import Period
from ovx_lite.stats.filters import MOST_TESTS, OPERATORS, Test, check_number, dimension_of

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
"""The periods that one can choose, what they are called, and the keys that choose them."""

COMPARISONS = {"none": "Compare with…", "previous": "Previous period", "year": "Year before"}

METRICS = {
    "visitors": "Visitors",
    "visits": "Visits",
    "pageviews": "Pageviews",
    "views_per_visit": "Views per visit",
    "bounce_rate": "Bounce rate",
    "visit_duration": "Visit duration",
}
"""What the totals are, and the chart can show."""

TABS = {
    "pages": {"event:page": "Top", "visit:entry_page": "Entry", "visit:exit_page": "Exit", "event:hostname": "Hosts"},
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
    "devices": {"visit:browser": "Browsers", "visit:os": "Systems", "visit:device": "Types"},
}
"""The panels that rank what stands in a dimension, and their tabs."""

NOUNS = {
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
    "visit:os": ("System", "systems"),
    "visit:device": ("Device", "devices"),
    "event:currency": ("Currency", "currencies"),
}
"""What a dimension is called, of one and of many."""

_LONGEST = 20_000  # characters of a filter in a URL
_SAFE = "/:-_.~ ()@!$'*+;="
_SAYS = {"is": "is", "contains": "contains", "matches": "matches"}


class View(msgspec.Struct, frozen=True):
    """What a dashboard shows. `first` and `last` (dates) are set where the period is none of `PERIODS`.

    `tabs` are those that were chosen, by panel; `props` the properties of events that are looked at together.
    """

    period: str = "30d"
    first: str = ""
    last: str = ""
    compare: str = "none"
    metric: str = "visitors"
    filters: tuple[Test, ...] = ()
    tabs: tuple[tuple[str, str], ...] = ()
    props: tuple[str, ...] = ()
    embed: bool = False

    def tab(self, panel: str) -> str:
        """The dimension that a panel ranks by."""
        return dict(self.tabs).get(panel) or next(iter(TABS[panel]))

    def with_tab(self, panel: str, dimension: str) -> "View":
        """The same with another tab of a panel."""
        tabs = tuple((name, word) for name, word in self.tabs if name != panel)
        first = dimension == next(iter(TABS[panel]))
        return msgspec.structs.replace(self, tabs=tabs if first else (*tabs, (panel, dimension)))

    def with_test(self, test: Test) -> "View":
        """The same with one filter more; it takes the place of what filtered by the same dimension."""
        rest = tuple(one for one in self.filters if one.dimension != test.dimension)
        return msgspec.structs.replace(self, filters=(*rest, test), props=())

    def without(self, test: Test) -> "View":
        """The same without a filter."""
        rest = tuple(one for one in self.filters if one != test)
        return msgspec.structs.replace(self, filters=rest, props=())

    def params(self) -> list[tuple[str, str]]:
        """What a URL has to say of it: what is not as usual."""
        told = [(name, value) for name, value in (("from", self.first), ("to", self.last)) if value]
        if not told and self.period != "30d":
            told.append(("period", self.period))
        usual = {"compare": "none", "metric": "visitors"}
        told += [(name, getattr(self, name)) for name, value in usual.items() if getattr(self, name) != value]
        told += [("f", written(test)) for test in self.filters]
        told += [(panel, dimension.partition(":")[2]) for panel, dimension in self.tabs]
        told += [("prop", key) for key in self.props]
        return [*told, ("embed", "1")] if self.embed else told

    def url(self, path: str) -> str:
        """Where it is shown."""
        return f"{path}?{urlencode(self.params())}" if self.params() else path

    def stretch(self, now: int, timezone: str, oldest: int | None) -> Period:
        """The period as of `now` (Unix ms); `oldest` is the day of the site's first event. Raises `Refused`."""
        if not self.first:
            return date_ranges.named(self.period, now, timezone, oldest)
        try:
            return date_ranges.between(self.first, self.last, timezone)
        except ValueError as wrong:
            raise Refused("invalid_request", str(wrong), "from") from None

    def compared(self, period: Period, timezone: str) -> Period | None:
        """The period that it compares with; None if it does not, or there is none."""
        if self.compare == "none" or period.first - max(period.days, 366) < 0:
            return None
        return (
            date_ranges.before(period, timezone)
            if self.compare == "previous"
            else date_ranges.year_before(period, timezone)
        )


def read(told: Sequence[tuple[str, str]]) -> View:
    """The view of a URL's parameters. Raises `Refused` with the parameter to blame; unknown ones mean nothing."""
    known = dict(told)
    first, last = known.get("from", "")[:40], known.get("to", "")[:40]
    if bool(first) != bool(last):
        first = last = first or last
    if first:
        try:
            date_ranges.between(first[:10], last[:10], "UTC")
        except ValueError as wrong:
            raise _wrong(str(wrong), "from") from None
    asked = [value for name, value in told if name == "f"]
    if len(asked) > MOST_TESTS or any(len(value) > _LONGEST for value in asked):
        raise _wrong(f"There are too many filters, or too long ones: at most {MOST_TESTS} are taken.", "f")
    filters = tuple(map(_test, asked))
    check_number(filters, "f")
    return View(
        _choice(known, "period", PERIODS, "30d"),
        first[:10],
        last[:10],
        _choice(known, "compare", COMPARISONS, "none"),
        _choice(known, "metric", METRICS, "visitors"),
        filters,
        tuple(_tabs(known)),
        tuple(dict.fromkeys(value[:300] for name, value in told if name == "prop"))[:2],
        known.get("embed") == "1",
    )


def _tabs(known: dict[str, str]) -> list[tuple[str, str]]:
    found = []
    for panel, tabs in TABS.items():
        if panel in known:
            by_name = {dimension.partition(":")[2]: dimension for dimension in tabs}
            found.append((panel, by_name[_choice(known, panel, by_name, "")]))
    return found


def _choice(known: dict[str, str], name: str, choices: dict[str, object] | object, usual: str) -> str:
    value = known.get(name, usual)
    assert isinstance(choices, dict), "there are choices"
    if value not in choices:
        raise _wrong(f"{name} is one of {', '.join(choices)}.", name)
    return value


def written(test: Test) -> str:
    """A filter as it stands in a URL: `is,source,google`; commas and percent signs in values are escaped."""
    told = (test.dimension.partition(":")[2], *test.values)
    return ",".join((operator(test), *(quote(word, _SAFE) for word in told)))


def operator(test: Test) -> str:
    """A filter's operator, as URLs and queries have it."""
    return f"{test.operator}_not" if test.negated else test.operator


def _test(text: str) -> Test:
    """`is,source,google` → the filter. Raises `Refused`."""
    told, _, rest = text.partition(",")
    escaped, comma, values = rest.partition(",")
    word = unquote(escaped)
    if told not in OPERATORS or not comma or "\0" in unquote(text):
        raise _wrong("A filter is like is,source,google or contains_not,page,/blog.", "f")
    names = (f"event:{word}", f"visit:{word}")
    dimension = dimension_of(next((name for name in names if name in NOUNS), names[0]), "f", of_time=False)
    test = Test(dimension, told.removesuffix("_not"), tuple(map(unquote, values.split(","))), told.endswith("_not"))
    if test.dimension == "event:goal" and test.operator != "is":
        raise _wrong("Goals are asked for by their names: use is or is_not.", "f")
    return test


def said(test: Test) -> str:
    """A filter in words: `Source is google`."""
    noun = NOUNS[test.dimension][0] if test.dimension in NOUNS else f"Property {test.dimension.split(':', 2)[2]}"
    says = _SAYS[test.operator]
    how = {"is": "is not", "contains": "does not contain", "matches": "does not match"}[says] if test.negated else says
    return f"{noun} {how} {' or '.join(value or '(unknown)' for value in test.values)}"


def _wrong(message: str, field: str) -> Refused:
    return Refused("invalid_request", message, field)
