"""Numbers, dates, filters and values as the dashboard shows them."""

from datetime import date

import pytest

from ovx_lite.domain.models import Campaign
from ovx_lite.enrichment.tables import read_table
from ovx_lite.enrichment.traffic_source import classify_source
from ovx_lite.stats.date_ranges import from_text
from ovx_lite.stats.filters import Condition
from ovx_lite.web.ui.dashboard import value_labels
from ovx_lite.web.ui.dashboard.formatting import (
    describe_filter,
    format_compact,
    format_date,
    format_date_range,
    format_exact,
    format_metric,
    format_value,
    group_thousands,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1000, "1k"), (12_340, "12.3k"), (99_960, "100k"), (999_950, "1M"), (4_000_000_000, "4B")],
)
def test_counts_are_formatted_compactly(count: int, text: str) -> None:
    assert format_compact(count) == text


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        ("2026-11-02", "2026-11-02", "2 Nov 2026"),
        ("2026-11-01", "2026-11-21", "1 – 21 Nov 2026"),
        ("2026-10-23", "2026-11-21", "23 Oct – 21 Nov 2026"),
        ("2025-12-31", "2026-01-01", "31 Dec 2025 – 1 Jan 2026"),
    ],
)
def test_date_ranges_are_formatted(first: str, last: str, text: str) -> None:
    assert format_date_range(from_text(first, last, "UTC")) == text


def test_a_date_is_formatted() -> None:
    assert format_date((date(2026, 11, 2) - date(1970, 1, 1)).days) == "2 Nov 2026"


def test_exact_values_are_formatted() -> None:
    assert [format_exact(value, "ratio") for value in (2.0, 2.5, 2.314, 1234.5)] == ["2", "2.5", "2.31", "1,234.5"]
    assert [format_exact(value, "percent") for value in (0.0, 41.25, 100.0)] == ["0%", "41.2%", "100%"]
    assert [format_metric("visitors", value) for value in (None, 6134)] == [("–", "–"), ("6.1k", "6,134")]
    assert [group_thousands(text) for text in ("1244.50", "-69669", "-0.50", "7")] == [
        "1,244.50",
        "-69,669",
        "-0.50",
        "7",
    ]


@pytest.mark.parametrize(
    ("dimension", "value", "label"),
    [
        ("visit:source", "google", "Google"),
        ("visit:source", "hackernews", "Hacker News"),
        ("visit:source", "direct", "Direct / None"),
        ("visit:source", "blog.example.com", "blog.example.com"),
        ("visit:channel", "ai", "AI"),
        ("visit:device", "mobile", "Mobile"),
        ("visit:country", "FR", "🇫🇷 France"),
        ("visit:utm_source", "google", "google"),
        ("event:page", "", "(unknown)"),
    ],
)
def test_values_have_readable_labels(dimension: str, value: str, label: str) -> None:
    assert format_value(dimension, value) == label


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (Condition("visit:source", "is", ("google", "x")), "Source is Google or X"),
        (Condition("visit:source", "is", ("direct",), negated=True), "Source is not Direct / None"),
        (Condition("visit:source", "contains", ("x",)), "Source contains x"),
        (Condition("event:page", "matches", ("^/a",), negated=True), "Page does not match ^/a"),
        (Condition("event:props:size", "is", ("",)), "Property size is (unknown)"),
    ],
)
def test_filters_have_readable_descriptions(condition: Condition, text: str) -> None:
    assert describe_filter(condition) == text


@pytest.mark.parametrize("source", sorted(value_labels.SOURCES.keys() - {"direct", "own"}))
def test_every_source_label_belongs_to_a_recognised_source(source: str) -> None:
    classified = classify_source("", Campaign(source=source), "", "")
    assert (classified.source, classified.channel in value_labels.CHANNELS) == (source, True)
    assert classified.channel != "campaign", "an unrecognised source would be classified as a campaign"


def test_every_source_and_channel_has_a_label() -> None:
    channels = read_table("traffic_sources.toml")["channels"]
    sources = {source for sources in channels.values() for source in sources}
    assert sources <= value_labels.SOURCES.keys()
    assert channels.keys() <= value_labels.CHANNELS.keys()
