"""`python -m benchmarks.dashboard`: how long a dashboard takes to put together, with a year of ten million events.

The store is made first (minutes, most of a gigabyte), unless `--store` is a folder that has it. The times are of SQL
and of making the page, without HTTP, in milliseconds: medians of several. With filters, too, unlike `python -m
benchmarks`, which has those of a tenth of the traffic beside them.
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
from ovx_lite.storage.sqlite import FILE, open_reader
from ovx_lite.web.common import templating
from ovx_lite.web.ui.dashboard import data, overview, state
from ovx_lite.web.ui.dashboard.presenters import Place, Shown
from ovx_lite.web.ui.dashboard.state import View

NOW = 1_795_300_000_000
PERIODS = {"day": "today", "7d": "7 days", "30d": "30 days", "91d": "91 days", "12mo": "12 months"}
FILTERS = (
    "is,source,google",
    "is,country,DE",
    "is,browser,Firefox",
    "is,page,/articles/700",
    "is,page,/",
    "is,name,signup",
)


def _median(do: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        do()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1000


class _Store:
    """A store that is looked at."""

    def __init__(self, conn: sqlite3.Connection, times: int) -> None:
        self._conn = conn
        self._times = times
        self._site = registry.find_site(conn, SITE)
        self._template = templating.environment().get_template("dashboard.html")
        self.events, self.visits = conn.execute("SELECT sum(events), sum(visits) FROM daily_totals").fetchone()

    def _show(self, view: View) -> None:
        board = data.board(self._conn, SITE, view, NOW)
        shown = Shown(self._site, view, board, Place("/sites/bench", False, "http://x"), NOW)
        usual = {"root": "", "here": "", "signed_in": True, "notices": [], "version": "", "base_url": ""}
        self._template.render(usual | overview.context(shown))

    def taken(self, told: str) -> list[str]:
        """How many milliseconds its dashboard takes, by period, with this filter or none."""
        filters = state.read([("f", told)]).filters if told else ()
        asked = [View(period=period, filters=filters) for period in PERIODS]
        return [f"{_median(partial(self._show, view), self._times):,.0f}" for view in asked]


def rows(stores: Path) -> Iterator[Row]:
    """Of a year with 1 and with 10 million events; the stores are made in this folder, if they are not there."""
    for folder, shape in (("1M", LARGE._replace(visits_per_day=LARGE.visits_per_day // 10)), ("10M", LARGE)):
        if not (stores / folder / FILE).exists():
            fill(stores / folder, NOW, 365, shape, _tell)
        with closing(open_reader(stores / folder, 64)) as conn:
            store = _Store(conn, 5)
            label = f"dashboard of a year with {store.events:,} events"
            yield Row(f"{label}: {', '.join(PERIODS.values())}", ", ".join(store.taken("")) + " ms")
            yield Row(f"{label}, of one source: the same", ", ".join(store.taken("is,source,google")) + " ms")


def _tell(day: object) -> None:
    print(f"\r{day}", end="", file=sys.stderr)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__)
    parser.add_argument("--store", type=Path, help="a folder that has the store, or is to have it")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        at = args.store or Path(folder)
        if not (at / FILE).exists():
            fill(at, NOW, args.days, LARGE, _tell)
        with closing(open_reader(at, 64)) as conn:
            store = _Store(conn, args.times)
            size = (at / FILE).stat().st_size / store.events
            print(f"{store.events:,} events in {store.visits:,} visits: {size:.1f} bytes an event, all included\n")
            print(f"| dashboard, ms | {' | '.join(PERIODS.values())} |\n| --- |{' ---: |' * len(PERIODS)}")
            for told in ("", *FILTERS):
                print(f"| {told or 'as it opens'} | {' | '.join(store.taken(told))} |", flush=True)


if __name__ == "__main__":
    _main()
