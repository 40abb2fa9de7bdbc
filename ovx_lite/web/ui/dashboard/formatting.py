"""Format numbers, dates, filters and dimension values for people. Pure."""

from collections.abc import Mapping
from datetime import date
from typing import Literal, NamedTuple

from ovx_lite.domain import countries
from ovx_lite.domain.calendar import HOUR_S, format_day
from ovx_lite.stats.date_ranges import DateRange
from ovx_lite.stats.filters import Condition
from ovx_lite.web.ui.dashboard import value_labels
from ovx_lite.web.ui.dashboard.state import DIMENSION_NOUNS

UnitKind = Literal["count", "ratio", "percent", "seconds"]


class Unit(NamedTuple):
    """The unit of a metric. Percentages are from 0 to 100."""

    kind: UnitKind
    plural: str
    singular: str = ""


UNITS: Mapping[str, Unit] = {
    "visitors": Unit("count", "visitors", "visitor"),
    "visits": Unit("count", "visits", "visit"),
    "pageviews": Unit("count", "pageviews", "pageview"),
    "views_per_visit": Unit("ratio", "views per visit"),
    "bounce_rate": Unit("percent", "bounce rate"),
    "visit_duration": Unit("seconds", "visit duration"),
}
"""The units of a dashboard's metrics."""

_VALUE_LABELS: Mapping[str, Mapping[str, str]] = {
    "visit:source": value_labels.SOURCES,
    "visit:channel": value_labels.CHANNELS,
    "visit:device": value_labels.DEVICES,
}
_NEGATED_OPERATORS = {"is": "is not", "contains": "does not contain", "matches": "does not match"}


def format_date(day: int) -> str:
    """Format a day (days since 1970-01-01): `2 Nov 2026`."""
    local_date = date.fromisoformat(format_day(day))
    return f"{local_date.day} {local_date:%b %Y}"


def format_date_range(date_range: DateRange) -> str:
    """Format a period: `23 Oct – 21 Nov 2026`. Repeats neither the month nor the year."""
    first, last = (date.fromisoformat(format_day(day)) for day in (date_range.first_day, date_range.last_day))
    last_text = f"{last.day} {last:%b %Y}"
    if first == last:
        return last_text
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} – {last_text}"
    return f"{first.day} {first:%b}{'' if first.year == last.year else f' {first.year}'} – {last_text}"


def format_compact(count: int) -> str:
    """Format a count in at most three digits from 1,000 on: `12.3k`, `4M`."""
    for limit, suffix in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= limit * 0.9995:
            scaled = count / limit
            return (f"{scaled:.1f}" if scaled < 99.95 else f"{scaled:.0f}").removesuffix(".0") + suffix
    return f"{count}"


def format_exact(value: float, kind: UnitKind) -> str:
    """Format a value without its unit's name: `1,234`, `2.31`, `41.5%`, `2m 14s`."""
    match kind:
        case "count":
            return f"{value:,.0f}"
        case "seconds":
            return _format_duration(round(value))
        case "percent":
            return f"{_trim_zeros(f'{value:.1f}')}%"
        case "ratio":
            return _trim_zeros(f"{value:,.2f}")


def format_with_unit(value: float, unit: Unit) -> str:
    """Format a value with its unit's name: `1,234 visitors`."""
    return f"{format_exact(value, unit.kind)} {unit.singular if value == 1 and unit.singular else unit.plural}"


def format_metric(name: str, value: float | None) -> tuple[str, str]:
    """Return a metric's compact and exact texts: `6.1k` and `6,134`. Both are `–` for None."""
    if value is None:
        return "–", "–"
    exact_text = format_exact(value, UNITS[name].kind)
    return (format_compact(int(value)) if UNITS[name].kind == "count" else exact_text), exact_text


def group_thousands(decimal: str) -> str:
    """Insert commas into a decimal number, keeping its fraction as it is: `1,244.50`."""
    whole, dot, fraction = decimal.partition(".")
    return f"{int(whole):,}{dot}{fraction}" if whole != "-0" else decimal


def format_value(dimension: str, value: str) -> str:
    """Return the label of a dimension's value: `Google` for the source `google`, `(unknown)` for `""`."""
    if not value:
        return "(unknown)"
    if dimension == "visit:country":
        return countries.name(value)
    return _VALUE_LABELS.get(dimension, {}).get(value, value)


def describe_filter(condition: Condition) -> str:
    """Describe a filter: `Source is Google`. Parts of values, as in `Source contains goo`, stay as typed."""
    noun = (
        DIMENSION_NOUNS[condition.dimension][0]
        if condition.dimension in DIMENSION_NOUNS
        else f"Property {condition.dimension.split(':', 2)[2]}"
    )
    operator_text = _NEGATED_OPERATORS[condition.operator] if condition.negated else condition.operator
    label_dimension = condition.dimension if condition.operator == "is" else ""
    return f"{noun} {operator_text} {' or '.join(format_value(label_dimension, value) for value in condition.values)}"


def _format_duration(seconds: int) -> str:
    parts = ((seconds // HOUR_S, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    texts = [f"{number}{suffix}" for number, suffix in parts if number]
    return " ".join(texts[:2]) or "0s"


def _trim_zeros(decimal: str) -> str:
    """Remove the zeros at the end of a fraction: `2.50` becomes `2.5`, and `2.00` becomes `2`."""
    return decimal.rstrip("0").rstrip(".")
