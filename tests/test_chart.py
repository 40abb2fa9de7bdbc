"""Charts: grid lines with round values, labels that fit, and every value at its position."""

import re
from itertools import pairwise
from time import process_time

import pytest

from ovx_lite.web.ui.dashboard.chart import Chart, Mark, Point, build_chart
from ovx_lite.web.ui.dashboard.formatting import UNITS, Unit, UnitKind, format_exact, format_with_unit

VISITORS = UNITS["visitors"]
LETTER, NARROW, WIDE = 6, 200, 520


def make_chart(*values: float | None, before: tuple[float | None, ...] = (), unit: Unit = VISITORS) -> Chart:
    points = [Point(f"day {index}", f"{index} Nov", value) for index, value in enumerate(values)]
    return build_chart(points, before, [], unit)


def path_points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


@pytest.mark.parametrize(
    ("kind", "max_value", "lines"),
    [
        ("count", 0, ["0", "1"]),
        ("count", 1, ["0", "1"]),
        ("count", 3, ["0", "1", "2", "3"]),
        ("count", 7, ["0", "2", "4", "6", "8"]),
        ("count", 41000, ["0", "20k", "40k", "60k"]),
        ("count", 5_800_000, ["0", "2M", "4M", "6M"]),
        ("ratio", 1.7, ["0", "0.5", "1", "1.5", "2"]),
        ("percent", 0, ["0%", "100%"]),
        ("percent", 92, ["0%", "50%", "100%"]),
        ("seconds", 0, ["0s", "1m"]),
        ("seconds", 110, ["0s", "30s", "1m", "1m 30s", "2m"]),
        ("seconds", 9000, ["0s", "1h", "2h", "3h"]),
    ],
)
def test_grid_lines_are_few_and_have_round_values(kind: UnitKind, max_value: float, lines: list[str]) -> None:
    ticks = make_chart(0, max_value, unit=Unit(kind, "x")).ticks
    assert [text for _, text in ticks] == lines
    assert [y for y, _ in ticks] == pytest.approx(
        [100 - 100 * index / (len(ticks) - 1) for index in range(len(ticks))], abs=0.01
    )


def test_grid_lines_cover_every_value() -> None:
    for digit in range(1, 100):
        for power in range(-2, 13):
            line_chart = make_chart(digit * 10.0**power, unit=UNITS["views_per_visit"])
            assert 2 <= len(line_chart.ticks) <= 5
            assert 0 <= line_chart.dots[0][1] <= 60


def test_zeros_are_drawn_as_a_line_at_the_bottom() -> None:
    assert path_points(make_chart(0, 0, 0).line) == [(0, 1000), (500, 1000), (1000, 1000)]


def test_a_single_point_is_drawn_as_a_dot_on_a_bar() -> None:
    line_chart = make_chart(4)
    assert line_chart.dots == [(50, 0)]
    assert line_chart.area == "M440 1000V0H560V1000Z"
    assert (line_chart.line, line_chart.dashed) == ("", "")
    (target,) = line_chart.hover_strips
    assert (target.left, target.width) == (0, 100)


def test_the_current_interval_is_dashed() -> None:
    points = [Point("a", "a", 2), Point("b", "b", 4), Point("c", "c", 1, is_unfinished=True), Point("d", "d", None)]
    line_chart = build_chart(points, [], [], VISITORS)
    assert path_points(line_chart.line) == [(0, 500), (333.3, 0)]
    assert path_points(line_chart.dashed) == [(333.3, 0), (666.7, 750)]
    assert [target.tooltip for target in line_chart.hover_strips[2:]] == ["c: 1 visitor so far", "d: no data"]
    assert make_chart(1, 2).dashed == ""


def test_gaps_in_the_values_are_gaps_in_the_line() -> None:
    line_chart = make_chart(1, 1, None, 1, None, 1, 1)
    assert line_chart.line.count("M") == line_chart.area.count("Z") == 2
    assert line_chart.dots == [(50, 0)]
    assert line_chart.hover_strips[2].y is None


def test_a_chart_without_values_is_empty() -> None:
    line_chart = make_chart(None, None)
    assert (line_chart.line, line_chart.area, line_chart.dots) == ("", "", [])
    assert line_chart.label == "Line chart of visitors, day 0 to day 1: no values."


def test_a_longer_comparison_is_cut_off_and_a_shorter_one_ends_early() -> None:
    longer = make_chart(1, 2, before=(2, 2, 9000))
    assert path_points(longer.comparison) == [(0, 0), (1000, 0)]
    assert longer.ticks[0][1] == "0"
    assert longer.ticks[-1][1] == "2"
    shorter = make_chart(1, 2, 2, before=(1, 1))
    assert path_points(shorter.comparison) == [(0, 500), (500, 500)]
    assert [target.comparison for target in shorter.hover_strips] == ["1", "1", ""]
    assert shorter.hover_strips[1].tooltip == "day 1: 2 visitors\nBefore: 1"


def test_the_scale_includes_the_comparison() -> None:
    line_chart = make_chart(1, 1, before=(10, 10))
    assert path_points(line_chart.comparison) == [(0, 0), (1000, 0)]
    assert path_points(line_chart.line) == [(0, 900), (1000, 900)]


def test_marks_of_the_same_day_are_combined() -> None:
    points = [Point("a", "a", 1)] * 5
    marks = [Mark(4, "Sale", "note"), Mark(1, "Sign-up", "goal"), Mark(4, "Launch", "note")]
    assert build_chart(points, [], marks, VISITORS).marks == [(25, "Sign-up", "goal"), (100, "Sale\nLaunch", "note")]


@pytest.mark.parametrize("text", ["1 Nov", "21 Nov 2026"])
@pytest.mark.parametrize("count", [1, 2, 7, 24, 28, 31, 91, 365, 1440])
def test_labels_below_the_chart_never_touch(count: int, text: str) -> None:
    line_chart = build_chart([Point(text, text, 1)] * count, [], [], VISITORS)
    for labels, width in (
        (line_chart.labels, WIDE),
        ([label for label in line_chart.labels if not label.wide_only], NARROW),
    ):
        assert labels
        gaps = [(right.x - left.x) * width / 100 for left, right in pairwise(labels)]
        assert all(pixels > len(text) * LETTER for pixels in gaps)


def test_hours_are_labelled_with_clock_times() -> None:
    hours = [f"{hour:02}:00" for hour in range(24)]
    labels = build_chart([Point(hour, hour, 1) for hour in hours], [], [], VISITORS).labels
    assert [label.text for label in labels] == hours[::3]


def test_hover_strips_cover_the_whole_plot() -> None:
    targets = make_chart(*range(50)).hover_strips
    assert targets[0].left == 0
    assert targets[-1].left + targets[-1].width == pytest.approx(100, abs=0.02)
    for left, right in pairwise(targets):
        assert left.left + left.width == pytest.approx(right.left, abs=0.02)
        assert left.left <= left.x <= left.left + left.width


def test_a_chart_of_1440_minutes_is_fast() -> None:
    started_s = process_time()
    line_chart = make_chart(*range(1440), before=tuple(range(1440)))
    assert process_time() - started_s < 0.5
    assert (
        len(path_points(line_chart.line))
        == len(path_points(line_chart.comparison))
        == len(line_chart.hover_strips)
        == 1440
    )


def test_the_label_describes_the_chart() -> None:
    label = "Line chart of visitors, day 0 to day 2: highest 1,234 on day 1, lowest 0 on day 2."
    assert make_chart(20, 1234, 0).label == label
    assert make_chart(3).label == "Line chart of visitors, day 0: 3 throughout."


def test_exact_values_are_formatted() -> None:
    assert format_with_unit(1, VISITORS) == "1 visitor"
    assert format_with_unit(1234, VISITORS) == "1,234 visitors"
    assert format_with_unit(41.25, UNITS["bounce_rate"]) == "41.2% bounce rate"
    assert format_with_unit(2.314, UNITS["views_per_visit"]) == "2.31 views per visit"
    assert [format_exact(seconds, "seconds") for seconds in (0, 59.6, 134, 3725, 7200)] == [
        "0s",
        "1m",
        "2m 14s",
        "1h 2m",
        "2h",
    ]
