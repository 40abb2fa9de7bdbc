"""A line chart: from values to what a page draws. Pure.

Places are in percent of the plot, from its upper left corner, so that it can have any size; only the paths are in
thousandths, for an SVG that is stretched to the plot.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from math import ceil, floor, log10
from typing import Literal, NamedTuple

Kind = Literal["count", "ratio", "percent", "seconds"]


class Unit(NamedTuple):
    """What is counted: percents are from 0 to 100."""

    kind: Kind
    many: str
    one: str = ""


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
    short: str
    value: float | None
    unfinished: bool = False


class Mark(NamedTuple):
    """What happened at a point, given by its place among the points."""

    at: int
    text: str
    kind: Literal["goal", "note"]


class Label(NamedTuple):
    """A word below the plot; `wide` if there is room for it only where the plot is wide."""

    x: float
    text: str
    wide: bool


class Target(NamedTuple):
    """What one points at: a strip of the plot, the dot in it (no `y`: none), and what there is to tell."""

    left: float
    width: float
    x: float
    y: float | None
    label: str
    value: str
    before: str
    told: str


class Chart(NamedTuple):
    """What there is to draw, and what it shows for those who do not see it. Paths are empty where there is nothing."""

    label: str
    unit: str
    line: str
    dashed: str
    area: str
    before: str
    dots: Sequence[tuple[float, float]]  # values that no line leads to or from
    ticks: Sequence[tuple[float, str]]  # how high the lines across the plot are, and their values
    labels: Sequence[Label]
    targets: Sequence[Target]
    marks: Sequence[tuple[float, str, str]]  # where points have marks, all their words, and the kind of the first


def chart(points: Sequence[Point], before: Sequence[float | None], marks: Sequence[Mark], unit: Unit) -> Chart:
    """The chart of at least one point.

    `before` are the values that the points are compared with, one by one; none if they are not. Where the time before
    had more or fewer, the rest has no place, or the line ends.
    """
    before = before[: len(points)]
    values = [point.value for point in points]
    levels = _levels(max((value for value in (*values, *before) if value is not None), default=0), unit.kind)
    half = 50 / max(len(points) - 1, 1)
    across = [_round(2 * half * at) for at in range(len(points))] if len(points) > 1 else [50]

    def up(value: float) -> float:
        return _round(100 - 100 * max(value, 0) / levels[-1])

    def path(run: Sequence[int], series: Sequence[float | None]) -> str:
        places = (f"{across[at] * 10:g} {up(series[at] or 0) * 10:g}" for at in run)
        return "M" + "L".join(places) if len(run) > 1 else ""

    runs = list(_runs(values))
    solid = [[at for at in run if not points[at].unfinished] for run in runs]
    bare = [run[0] for run in runs if len(run) == 1]
    area = [f"{path(run, values)}V1000H{across[run[0]] * 10:g}Z" for run in runs if len(run) > 1]
    if len(points) == 1 and bare:
        area = [f"M440 1000V{up(values[0] or 0) * 10:g}H560V1000Z"]
    return Chart(
        label=_summary(points, unit),
        unit=unit.many,
        line="".join(path(run, values) for run in solid),
        dashed="".join(path(run[max(len(done) - 1, 0) :], values) for run, done in zip(runs, solid, strict=True)),
        area="".join(area),
        before="".join(path(run, before) for run in _runs(before)),
        dots=[(across[at], up(values[at] or 0)) for at in bare],
        ticks=[(up(level), _brief(level, unit.kind)) for level in levels],
        labels=_labels([point.short for point in points], across),
        targets=[
            _target(point, earlier, unit, x, None if point.value is None else up(point.value), half)
            for point, earlier, x in zip_longest(points, before, across)
        ],
        marks=_together(marks, across),
    )


def told(value: float, unit: Unit) -> str:
    """A value in full: "1,234 visitors"."""
    return f"{exact(value, unit.kind)} {unit.one if value == 1 and unit.one else unit.many}"


def exact(value: float, kind: Kind) -> str:
    """A value's number in full: "1,234", "2.31", "41.5%", "2m 14s"."""
    match kind:
        case "count":
            return f"{value:,.0f}"
        case "seconds":
            return _time(round(value))
        case "percent":
            return f"{_round(value, 1):g}%"
        case "ratio":
            return f"{_round(value):,}"


def _brief(value: float, kind: Kind) -> str:
    """A round value, as it stands on the axis."""
    if kind in ("seconds", "percent"):
        return exact(value, kind)
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _time(seconds: int) -> str:
    parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    written = [f"{number}{letter}" for number, letter in parts if number]
    return " ".join(written[:2]) or "0s"


def _round(value: float, digits: int = 2) -> float:
    """A number without a fraction that says nothing."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded


_NOTHING: Mapping[Kind, float] = {"count": 1, "ratio": 1, "percent": 100, "seconds": 60}
"""How high the axis is where every value is 0."""
_CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def _levels(most: float, kind: Kind) -> list[float]:
    """Round values for the axis: from 0 to the first that is not below `most`, five of them at most."""
    if most <= 0:
        return [0, _NOTHING[kind]]
    step = _step(most / 4, kind)
    return [_round(step * level, 6) for level in range(ceil(most / step - 1e-9) + 1)]


def _step(least: float, kind: Kind) -> float:
    """The smallest round step that is not below another: 1, 2 or 5 times a power of ten; times as clocks have them."""
    if kind == "seconds" and least > _CLOCK[-1]:
        return 3600 * _step(least / 3600, "count")
    if kind == "seconds":
        return next(step for step in _CLOCK if step >= least)
    if kind == "count" and least <= 1:
        return 1
    power: float = 10.0 ** floor(log10(least))
    return next(power * times for times in (1, 2, 5, 10) if power * times >= least * (1 - 1e-9))


def _runs(values: Sequence[float | None]) -> Iterator[list[int]]:
    """The places of values that follow one another without a gap."""
    for there, run in groupby(range(len(values)), lambda at: values[at] is not None):
        if there:
            yield list(run)


_NARROW, _WIDE = 200, 520
"""How wide (px) a plot is at least: on the smallest screen, and where it counts as wide (the style sheet says when)."""
_LETTER, _APART = 6.5, 14
_EVERY = (1, 2, 3, 4, 6, 7, 12, 14, 24, 28, 60, 120, 180, 240, 360)
"""Steps that are something in the calendar: hours of a day, weeks, months of a year, minutes."""


def _labels(words: Sequence[str], across: Sequence[float]) -> list[Label]:
    """As many as fit: those for a narrow plot are some of those for a wide one."""
    room = max(map(len, words)) * _LETTER + _APART
    least = len(words) / max(_WIDE // room, 1)
    every = next((step for step in _EVERY if step >= least), ceil(least))
    rarely = every * ceil(ceil(len(words) / every) / max(_NARROW // room, 1))
    return [Label(across[at], words[at], at % rarely > 0) for at in range(0, len(words), every)]


def _target(point: Point, before: float | None, unit: Unit, x: float, y: float | None, half: float) -> Target:
    """The strip that reaches half the way to the next points."""
    value = "" if point.value is None else exact(point.value, unit.kind)
    known = "nothing yet" if point.value is None else told(point.value, unit)
    compared = "" if before is None else exact(before, unit.kind)
    words = f"{point.label}: {known}{' so far' if point.unfinished and value else ''}"
    left, right = max(x - half, 0), min(x + half, 100)
    words += f"\nBefore: {compared}" if compared else ""
    return Target(_round(left), _round(right - left), x, y, point.label, value, compared, words)


def _together(marks: Sequence[Mark], across: Sequence[float]) -> list[tuple[float, str, str]]:
    places: dict[int, list[Mark]] = {}
    for mark in marks:
        places.setdefault(mark.at, []).append(mark)
    return [(across[at], "\n".join(mark.text for mark in here), here[0].kind) for at, here in sorted(places.items())]


def _summary(points: Sequence[Point], unit: Unit) -> str:
    when = points[0].label + (f" to {points[-1].label}" if len(points) > 1 else "")
    known = [(point.value, point.label) for point in points if point.value is not None]
    if not known:
        return f"Line chart of {unit.many}, {when}: no values."
    (low, lowest), (high, highest) = min(known, key=lambda one: one[0]), max(known, key=lambda one: one[0])
    if low == high:
        return f"Line chart of {unit.many}, {when}: {exact(low, unit.kind)} throughout."
    ends = f"highest {exact(high, unit.kind)} on {highest}, lowest {exact(low, unit.kind)} on {lowest}"
    return f"Line chart of {unit.many}, {when}: {ends}."
