"""`python -m benchmarks.dashboard`: the time to load and render a dashboard of a year with ten million events.

The store is created first (this takes minutes and most of a gigabyte), unless `--store` is a folder that has it. The
times are medians in milliseconds of SQL and rendering, without HTTP. This benchmark covers more filters than
`python -m benchmarks`, which also measures a tenth of the traffic.
"""

import argparse
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.table import Row
from benchmarks.traffic import SITE, fill
from ovx_lite.emulator.demo_traffic import LARGE
from ovx_lite.storage import registry
from ovx_lite.storage.read.reader import SqliteReader
from ovx_lite.storage.sqlite import STORE_FILE, open_reader
from ovx_lite.web.common import templating
from ovx_lite.web.ui.dashboard import data, overview, state
from ovx_lite.web.ui.dashboard.presenters import DashboardLocation, DashboardView
from ovx_lite.web.ui.dashboard.state import DashboardState

NOW_MS = 1_795_300_000_000
PERIODS = {"day": "today", "7d": "7 days", "30d": "30 days", "91d": "91 days", "12mo": "12 months"}
FILTERS = (
    "is,source,google",
    "is,country,DE",
    "is,browser,Firefox",
    "is,page,/articles/700",
    "is,page,/",
    "is,name,signup",
)


def _median_ms(function: Callable[[], object], repeats: int) -> float:
    durations_s = []
    for _ in range(repeats):
        started_at_s = time.perf_counter()
        function()
        durations_s.append(time.perf_counter() - started_at_s)
    return statistics.median(durations_s) * 1000


class _Store:
    """A store whose dashboards are measured."""

    def __init__(self, conn: sqlite3.Connection, repeats: int) -> None:
        self._conn = conn
        self._reader = SqliteReader(conn)
        self._repeats = repeats
        self._site = registry.find_site(conn, SITE)
        self._template = templating.template_environment().get_template("dashboard.html")
        self.events, self.visits = conn.execute("SELECT sum(events), sum(visits) FROM daily_totals").fetchone()

    def _render(self, dashboard_state: DashboardState) -> None:
        dashboard_data = data.load_dashboard(self._reader, self._site, dashboard_state, NOW_MS)
        dashboard_view = DashboardView(
            self._site, dashboard_state, dashboard_data, DashboardLocation("/sites/bench", False, "http://x"), NOW_MS
        )
        page_values = {"root": "", "here": "", "signed_in": True, "messages": [], "version": "", "base_url": ""}
        page_values["disk"] = {"is_low": False}
        self._template.render(page_values | overview.template_values(dashboard_view))

    def share_of_page(self, path: str) -> float:
        """Return the share of the visits that viewed a page."""
        query = "SELECT count(DISTINCT visit_id) FROM events JOIN pages ON pages.id = page_id WHERE path = ?"
        (visits,) = self._conn.execute(query, (path,)).fetchone()
        return float(visits / self.visits)

    def measure(self, filter_text: str) -> list[str]:
        """Return the milliseconds that the dashboard takes, by period, with this filter or none."""
        filters = state.parse_state([("f", filter_text)]).filters if filter_text else ()
        states = [DashboardState(period=period, filters=filters) for period in PERIODS]
        return [
            f"{_median_ms(partial(self._render, dashboard_state), self._repeats):,.0f}" for dashboard_state in states
        ]


def rows(stores: Path) -> Iterator[Row]:
    """Measure a year with 1 and with 10 million events; missing stores are created in this folder."""
    for folder, shape in (("1M", LARGE._replace(visits_per_day=LARGE.visits_per_day // 10)), ("10M", LARGE)):
        if not (stores / folder / STORE_FILE).exists():
            fill(stores / folder, NOW_MS, 365, shape, _show_progress)
        with closing(open_reader(stores / folder, 64)) as conn:
            store = _Store(conn, 5)
            label = f"dashboard of a year with {store.events:,} events"
            yield Row(f"{label}: {', '.join(PERIODS.values())}", ", ".join(store.measure("")) + " ms")
            yield Row(f"{label}, of one source: the same", ", ".join(store.measure("is,source,google")) + " ms")
            yield Row(
                f"{label}, of the page with {store.share_of_page('/'):.0%} of the visits: the same",
                ", ".join(store.measure("is,page,/")) + " ms",
            )


def _show_progress(day: object) -> None:
    print(f"\r{day}", end="", file=sys.stderr)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__)
    parser.add_argument("--store", type=Path, help="a folder of the store, which is created if it is missing")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store_dir = args.store or Path(folder)
        if not (store_dir / STORE_FILE).exists():
            fill(store_dir, NOW_MS, args.days, LARGE, _show_progress)
        with closing(open_reader(store_dir, 64)) as conn:
            store = _Store(conn, args.times)
            bytes_per_event = (store_dir / STORE_FILE).stat().st_size / store.events
            print(
                f"{store.events:,} events in {store.visits:,} visits: {bytes_per_event:.1f} bytes per event in total\n"
            )
            print(f"| dashboard, ms | {' | '.join(PERIODS.values())} |\n| --- |{' ---: |' * len(PERIODS)}")
            for filter_text in ("", *FILTERS):
                print(f"| {filter_text or 'as it opens'} | {' | '.join(store.measure(filter_text))} |", flush=True)


if __name__ == "__main__":
    _main()
