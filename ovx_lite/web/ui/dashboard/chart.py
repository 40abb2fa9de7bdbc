"""A line chart: from values to what a page draws. Pure.

Places are in percent of the plot, from its upper left corner, so that it can have any size; only the paths are in
thousandths, for an SVG that is stretched to the plot.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from math import ceil, floor, log10
from typing import Literal, NamedTuple

UnitKind = Literal["count", "ratio", "percent", "seconds"]


class Unit(NamedTuple):
    """What is counted: percents are from 0 to 100."""

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
"""The units of the metrics that a dashboard has."""


class Point(NamedTuple):
    """A value, or None where there can be none: an hour to come, the bounce rate of a day without visits.

    Its name as one reads it alone is like "Fri 21 Nov", and on the axis like "21 Nov". It is `unfinished` if its hour,
    day or month still goes on; then it is the last one with a value.
    """

    label: str
    short_label: str
    value: float | None
    is_unfinished: bool = False


class Mark(NamedTuple):
    """What happened at a point, given by its place among the points."""

    point: int
    text: str
    kind: Literal["goal", "note"]


class Label(NamedTuple):
    """A word below the plot; `wide` if there is room for it only where the plot is wide."""

    x: float
    text: str
    wide_only: bool


class HoverStrip(NamedTuple):
    """What one points at: a strip of the plot, the dot in it (no `y`: none), and what there is to tell."""

    left: float
    width: float
    x: float
    y: float | None
    label: str
    value: str
    comparison: str
    tooltip: str


class Chart(NamedTuple):
    """What there is to draw, and what it shows for those who do not see it. Paths are empty where there is nothing."""

    label: str
    unit: str
    line: str
    dashed: str
    area: str
    comparison: str
    dots: Sequence[tuple[float, float]]  # values that no line leads to or from
    ticks: Sequence[tuple[float, str]]  # how high the lines across the plot are, and their values
    labels: Sequence[Label]
    hover_strips: Sequence[HoverStrip]
    marks: Sequence[tuple[float, str, str]]  # where points have marks, all their words, and the kind of the first


def build_chart(
    points: Sequence[Point], comparison: Sequence[float | None], marks: Sequence[Mark], unit: Unit
) -> Chart:
    """The chart of at least one point.

    `before` are the values that the points are compared with, one by one; none if they are not. Where the time before
    had more or fewer, the rest has no place, or the line ends.
    """
    comparison = comparison[: len(points)]
    values = [point.value for point in points]
    levels = _levels(max((value for value in (*values, *comparison) if value is not None), default=0), unit.kind)
    half_step = 50 / max(len(points) - 1, 1)
    xs = [_round(2 * half_step * index) for index in range(len(points))] if len(points) > 1 else [50]

    def y_of(value: float) -> float:
        return _round(100 - 100 * max(value, 0) / levels[-1])

    def path_data(run: Sequence[int], series: Sequence[float | None]) -> str:
        coordinates = (f"{xs[index] * 10:g} {y_of(series[index] or 0) * 10:g}" for index in run)
        return "M" + "L".join(coordinates) if len(run) > 1 else ""

    runs = list(_runs(values))
    finished_runs = [[index for index in run if not points[index].is_unfinished] for run in runs]
    isolated = [run[0] for run in runs if len(run) == 1]
    area = [f"{path_data(run, values)}V1000H{xs[run[0]] * 10:g}Z" for run in runs if len(run) > 1]
    if len(points) == 1 and isolated:
        area = [f"M440 1000V{y_of(values[0] or 0) * 10:g}H560V1000Z"]
    return Chart(
        label=_summary(points, unit),
        unit=unit.plural,
        line="".join(path_data(run, values) for run in finished_runs),
        dashed="".join(
            path_data(run[max(len(finished) - 1, 0) :], values)
            for run, finished in zip(runs, finished_runs, strict=True)
        ),
        area="".join(area),
        comparison="".join(path_data(run, comparison) for run in _runs(comparison)),
        dots=[(xs[index], y_of(values[index] or 0)) for index in isolated],
        ticks=[(y_of(level), _format_tick(level, unit.kind)) for level in levels],
        labels=_labels([point.short_label for point in points], xs),
        hover_strips=[
            _hover_strip(
                point, comparison_value, unit, x, None if point.value is None else y_of(point.value), half_step
            )
            for point, comparison_value, x in zip_longest(points, comparison, xs)
        ],
        marks=_group_marks(marks, xs),
    )


def format_with_unit(value: float, unit: Unit) -> str:
    """A value in full: "1,234 visitors"."""
    return f"{format_exact(value, unit.kind)} {unit.singular if value == 1 and unit.singular else unit.plural}"


def format_exact(value: float, kind: UnitKind) -> str:
    """A value's number in full: "1,234", "2.31", "41.5%", "2m 14s"."""
    match kind:
        case "count":
            return f"{value:,.0f}"
        case "seconds":
            return _format_duration(round(value))
        case "percent":
            return f"{_round(value, 1):g}%"
        case "ratio":
            return f"{_round(value):,}"


def _format_tick(value: float, kind: UnitKind) -> str:
    """A round value, as it stands on the axis."""
    if kind in ("seconds", "percent"):
        return format_exact(value, kind)
    for divisor, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= divisor:
            return f"{value / divisor:g}{suffix}"
    return f"{value:g}"


def _format_duration(seconds: int) -> str:
    parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    texts = [f"{number}{suffix}" for number, suffix in parts if number]
    return " ".join(texts[:2]) or "0s"


def _round(value: float, digits: int = 2) -> float:
    """A number without a fraction that says nothing."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded


_EMPTY_AXIS_MAX: Mapping[UnitKind, float] = {"count": 1, "ratio": 1, "percent": 100, "seconds": 60}
"""How high the axis is where every value is 0."""
_DURATION_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def _levels(max_value: float, kind: UnitKind) -> list[float]:
    """Round values for the axis: from 0 to the first that is not below `most`, five of them at most."""
    if max_value <= 0:
        return [0, _EMPTY_AXIS_MAX[kind]]
    step = _step(max_value / 4, kind)
    return [_round(step * level, 6) for level in range(ceil(max_value / step - 1e-9) + 1)]


def _step(min_step: float, kind: UnitKind) -> float:
    """The smallest round step that is not below another: 1, 2 or 5 times a power of ten; times as clocks have them."""
    if kind == "seconds" and min_step > _DURATION_STEPS_S[-1]:
        return 3600 * _step(min_step / 3600, "count")
    if kind == "seconds":
        return next(step for step in _DURATION_STEPS_S if step >= min_step)
    if kind == "count" and min_step <= 1:
        return 1
    power: float = 10.0 ** floor(log10(min_step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= min_step * (1 - 1e-9))


def _runs(values: Sequence[float | None]) -> Iterator[list[int]]:
    """The places of values that follow one another without a gap."""
    for has_value, run in groupby(range(len(values)), lambda index: values[index] is not None):
        if has_value:
            yield list(run)


_NARROW_PLOT_PX, _WIDE_PLOT_PX = 200, 520
"""How wide (px) a plot is at least: on the smallest screen, and where it counts as wide (the style sheet says when)."""
_LETTER_WIDTH_PX, _LABEL_GAP_PX = 6.5, 14
_LABEL_INTERVALS = (1, 2, 3, 4, 6, 7, 12, 14, 24, 28, 60, 120, 180, 240, 360)
"""Steps that are something in the calendar: hours of a day, weeks, months of a year, minutes."""


def _labels(texts: Sequence[str], xs: Sequence[float]) -> list[Label]:
    """As many as fit: those for a narrow plot are some of those for a wide one."""
    label_width_px = max(map(len, texts)) * _LETTER_WIDTH_PX + _LABEL_GAP_PX
    min_interval = len(texts) / max(_WIDE_PLOT_PX // label_width_px, 1)
    interval = next((candidate for candidate in _LABEL_INTERVALS if candidate >= min_interval), ceil(min_interval))
    narrow_interval = interval * ceil(ceil(len(texts) / interval) / max(_NARROW_PLOT_PX // label_width_px, 1))
    return [Label(xs[index], texts[index], index % narrow_interval > 0) for index in range(0, len(texts), interval)]


def _hover_strip(
    point: Point, comparison: float | None, unit: Unit, x: float, y: float | None, half_step: float
) -> HoverStrip:
    """The strip that reaches half the way to the next points."""
    value = "" if point.value is None else format_exact(point.value, unit.kind)
    value_text = "nothing yet" if point.value is None else format_with_unit(point.value, unit)
    comparison_text = "" if comparison is None else format_exact(comparison, unit.kind)
    tooltip = f"{point.label}: {value_text}{' so far' if point.is_unfinished and value else ''}"
    left, right = max(x - half_step, 0), min(x + half_step, 100)
    tooltip += f"\nBefore: {comparison_text}" if comparison_text else ""
    return HoverStrip(_round(left), _round(right - left), x, y, point.label, value, comparison_text, tooltip)


def _group_marks(marks: Sequence[Mark], xs: Sequence[float]) -> list[tuple[float, str, str]]:
    marks_by_index: dict[int, list[Mark]] = {}
    for mark in marks:
        marks_by_index.setdefault(mark.point, []).append(mark)
    return [
        (xs[index], "\n".join(mark.text for mark in group), group[0].kind)
        for index, group in sorted(marks_by_index.items())
    ]


def _summary(points: Sequence[Point], unit: Unit) -> str:
    dates = points[0].label + (f" to {points[-1].label}" if len(points) > 1 else "")
    labelled_values = [(point.value, point.label) for point in points if point.value is not None]
    if not labelled_values:
        return f"Line chart of {unit.plural}, {dates}: no values."
    (low, lowest_label), (high, highest_label) = (
        min(labelled_values, key=lambda pair: pair[0]),
        max(labelled_values, key=lambda pair: pair[0]),
    )
    if low == high:
        return f"Line chart of {unit.plural}, {dates}: {format_exact(low, unit.kind)} throughout."
    extremes = f"highest {format_exact(high, unit.kind)} on {highest_label}, lowest {format_exact(low, unit.kind)} on {lowest_label}"
    return f"Line chart of {unit.plural}, {dates}: {extremes}."
