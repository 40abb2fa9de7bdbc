"""`python -m benchmarks.dashboard`: how long a dashboard takes to put together, with a year of ten million events.

The store is made first (minutes, most of a gigabyte), unless `--store` is a folder that has it. The times are of SQL
and of making the page, without HTTP, in milliseconds: medians of several.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.traffic import SITE, fill
from ovx_lite import views
from ovx_lite.demo import LARGE
from ovx_lite.store import boards, registry
from ovx_lite.store.db import FILE, open_reader
from ovx_lite.views import View
from ovx_lite.web import figures, html
from ovx_lite.web.shown import Place, Shown

NOW = 1_795_300_000_000
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


def _measure(folder: Path, times: int) -> None:
    size = (folder / FILE).stat().st_size
    with closing(open_reader(folder, 64)) as conn:
        site = registry.find_site(conn, SITE)
        (events,) = conn.execute("SELECT sum(events) FROM days").fetchone()
        (visits,) = conn.execute("SELECT sum(visits) FROM days").fetchone()
        print(f"{events:,} events in {visits:,} visits: {size / events:.1f} bytes an event, all included\n")
        template = html.environment().get_template("dashboard.html")
        usual = {"root": "", "here": "", "signed_in": True, "notices": [], "version": "", "base_url": ""}

        def show(view: View) -> None:
            shown = Shown(
                site, view, boards.board(conn, SITE, view, NOW), Place("/sites/bench", False, "http://x"), NOW
            )
            template.render(usual | figures.context(shown))

        print("| dashboard | today | 7 days | 30 days | 91 days | 12 months |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for told in ("", *FILTERS):
            filters = views.read([("f", told)]).filters if told else ()
            row = []
            for period in ("day", "7d", "30d", "91d", "12mo"):
                view = View(period=period, filters=filters)
                row.append(_median(partial(show, view), times))
            print(f"| {told or 'as it opens'} | " + " | ".join(f"{taken:,.0f}" for taken in row) + " |", flush=True)


def _tell(day: object) -> None:
    print(f"\r{day}", end="", file=sys.stderr)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__)
    parser.add_argument("--store", type=Path, help="a folder that has the store, or is to have it")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = args.store or Path(folder)
        if not (store / FILE).exists():
            fill(store, NOW, args.days, LARGE, _tell)
        _measure(store, args.times)


if __name__ == "__main__":
    _main()
