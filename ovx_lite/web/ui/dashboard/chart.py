"""Compute the shapes and labels of a line chart. Pure.

Coordinates are percentages of the plot from its upper left corner, so a chart fits any size. Only paths are in
thousandths, for an SVG that is stretched to the plot.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from math import ceil, floor, log10
from typing import Literal, NamedTuple

from ovx_lite.domain.calendar import HOUR_S
from ovx_lite.web.ui.dashboard.formatting import Unit, UnitKind, format_exact, format_with_unit


class Point(NamedTuple):
    """A value of the series, or None if there is none: an hour in the future, the bounce rate of a day without visits.

    `label` reads like "Fri 21 Nov", `short_label`, on the axis, like "21 Nov". The point `is_unfinished` if its hour,
    day, week or month is still in progress; it is then the last point with a value.
    """

    label: str
    short_label: str
    value: float | None
    is_unfinished: bool = False


class Mark(NamedTuple):
    """Something that happened at a point, given by its index."""

    point: int
    text: str
    kind: Literal["goal", "note"]


class Label(NamedTuple):
    """A label below the plot. `wide_only` labels fit only if the plot is wide."""

    x: float
    text: str
    wide_only: bool


class HoverStrip(NamedTuple):
    """A vertical strip of the plot that shows its point's values on hover. Without a dot, `y` is None."""

    left: float
    width: float
    x: float
    y: float | None
    label: str
    value: str
    comparison: str
    tooltip: str


class Chart(NamedTuple):
    """The shapes of a chart, and a description for screen readers. A path without points is `""`."""

    label: str
    unit: str
    line: str
    dashed: str
    area: str
    comparison: str
    dots: Sequence[tuple[float, float]]  # x and y of values without neighbours, which no line connects
    ticks: Sequence[tuple[float, str]]  # y and label of the horizontal grid lines
    labels: Sequence[Label]
    hover_strips: Sequence[HoverStrip]
    marks: Sequence[tuple[float, str, str]]  # x of a marked point, the texts of its marks, the kind of the first


def build_chart(
    points: Sequence[Point], comparison: Sequence[float | None], marks: Sequence[Mark], unit: Unit
) -> Chart:
    """Build the chart of at least one point.

    `comparison` holds the value to compare each point with, and is empty without a comparison. If it is longer than
    `points`, the rest is ignored; if it is shorter, its line ends early.
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


def _format_tick(value: float, kind: UnitKind) -> str:
    """Format a round value for the axis: `2.5k`."""
    if kind in ("seconds", "percent"):
        return format_exact(value, kind)
    for divisor, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= divisor:
            return f"{value / divisor:g}{suffix}"
    return f"{value:g}"


def _round(value: float, digits: int = 2) -> float:
    """Round a number; return an int if no fraction is left, so that it prints without `.0`."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded


_EMPTY_AXIS_MAX: Mapping[UnitKind, float] = {"count": 1, "ratio": 1, "percent": 100, "seconds": 60}
"""The top of the axis if every value is 0."""
_DURATION_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def _levels(max_value: float, kind: UnitKind) -> list[float]:
    """Return at most five round values for the axis, from 0 to the first that is at least `max_value`."""
    if max_value <= 0:
        return [0, _EMPTY_AXIS_MAX[kind]]
    step = _step(max_value / 4, kind)
    return [_round(step * level, 6) for level in range(ceil(max_value / step - 1e-9) + 1)]


def _step(min_step: float, kind: UnitKind) -> float:
    """Return the smallest round step of at least `min_step`: 1, 2 or 5 times a power of 10, or a clock unit."""
    if kind == "seconds" and min_step > _DURATION_STEPS_S[-1]:
        return HOUR_S * _step(min_step / HOUR_S, "count")
    if kind == "seconds":
        return next(step for step in _DURATION_STEPS_S if step >= min_step)
    if kind == "count" and min_step <= 1:
        return 1
    power: float = 10.0 ** floor(log10(min_step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= min_step * (1 - 1e-9))


def _runs(values: Sequence[float | None]) -> Iterator[list[int]]:
    """Yield the indexes of values that follow one another without a gap."""
    for has_value, run in groupby(range(len(values)), lambda index: values[index] is not None):
        if has_value:
            yield list(run)


_NARROW_PLOT_PX, _WIDE_PLOT_PX = 200, 520
"""Plot widths in px: the width on the smallest screens, and that from which `dashboard.css` shows all labels."""
_LETTER_WIDTH_PX, _LABEL_GAP_PX = 6.5, 14
_LABEL_INTERVALS = (1, 2, 3, 4, 6, 7, 12, 14, 24, 28, 60, 120, 180, 240, 360)
"""Intervals that match the calendar: hours of a day, weeks, months of a year, minutes."""


def _labels(texts: Sequence[str], xs: Sequence[float]) -> list[Label]:
    """Return as many labels as fit. A narrow plot shows a subset of the labels of a wide one."""
    label_width_px = max(map(len, texts)) * _LETTER_WIDTH_PX + _LABEL_GAP_PX
    min_interval = len(texts) / max(_WIDE_PLOT_PX // label_width_px, 1)
    interval = next((candidate for candidate in _LABEL_INTERVALS if candidate >= min_interval), ceil(min_interval))
    narrow_interval = interval * ceil(ceil(len(texts) / interval) / max(_NARROW_PLOT_PX // label_width_px, 1))
    return [Label(xs[index], texts[index], index % narrow_interval > 0) for index in range(0, len(texts), interval)]


def _hover_strip(
    point: Point, comparison: float | None, unit: Unit, x: float, y: float | None, half_step: float
) -> HoverStrip:
    """Return the strip of a point, which reaches halfway to its neighbours."""
    value = "" if point.value is None else format_exact(point.value, unit.kind)
    value_text = "no data" if point.value is None else format_with_unit(point.value, unit)
    comparison_text = "" if comparison is None else format_exact(comparison, unit.kind)
    tooltip = f"{point.label}: {value_text}{' so far' if point.is_unfinished and value else ''}"
    left, right = max(x - half_step, 0), min(x + half_step, 100)
    tooltip += f"\nBefore: {comparison_text}" if comparison_text else ""
    return HoverStrip(
        left=_round(left),
        width=_round(right - left),
        x=x,
        y=y,
        label=point.label,
        value=value,
        comparison=comparison_text,
        tooltip=tooltip,
    )


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
    highest = f"highest {format_exact(high, unit.kind)} on {highest_label}"
    lowest = f"lowest {format_exact(low, unit.kind)} on {lowest_label}"
    return f"Line chart of {unit.plural}, {dates}: {highest}, {lowest}."
