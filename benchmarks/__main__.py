"""`python -m benchmarks`: the performance of one core, as the table in docs/proofs.md.

`--only NAME` selects a measurement. The rates fail if they are far below the usual ones.
"""

import argparse
import datetime
import os
import platform
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from benchmarks import access_log, bursts, dashboard, disk, latency, memory, rates, soak, table, webhooks
from benchmarks.table import Row


def _machine() -> str:
    """Return the date, versions and machine of the run."""
    cores, day = os.cpu_count(), datetime.datetime.now(datetime.UTC).date()
    model = [line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    processor = model[0] if model else platform.processor()
    return f"{day}, ovx-lite {version('ovx-lite')}, Python {platform.python_version()}, {cores} cores, {processor}"


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines() if Path(file).exists() else []


def _measurements(args: argparse.Namespace, folder: Path) -> dict[str, Iterator[Row]]:
    """Return the rows of each measurement; it starts when its first row is read."""
    stores = args.stores or folder
    return {
        "rates": rates.rows(folder / "rates", args.rounds, args.seconds, args.connections),
        "bursts": bursts.rows(folder / "bursts", args.burst_rounds, args.burst_seconds, args.connections),
        "latency": latency.rows(folder / "latency", stores, args.load_seconds),
        "memory": memory.rows(folder / "memory", args.load_seconds, args.connections),
        "access-log": access_log.rows(folder / "access-log", args.log_lines),
        "webhooks": webhooks.rows(folder / "webhooks"),
        "disk": disk.rows(folder / "disk", 200_000),
        "dashboard": dashboard.rows(stores),
        "soak": soak.rows(folder / "soak", args.minutes),
    }


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="measure only the rates; the same as --only rates")
    parser.add_argument("--only", action="append", metavar="NAME", help="measure only this; can be repeated")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the rates")
    parser.add_argument("--seconds", type=float, default=2, help="seconds of each round of the rates")
    parser.add_argument("--burst-rounds", type=int, default=3)
    parser.add_argument("--burst-seconds", type=float, default=10)
    parser.add_argument("--load-seconds", type=float, default=60, help="seconds of the load for latency and memory")
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--log-lines", type=int, default=200_000, help="lines of the access log to import")
    parser.add_argument("--minutes", type=int, default=60, help="minutes of steady load")
    parser.add_argument("--stores", type=Path, help="a folder in which to keep the stores of 1 and 10 million events")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measurements = _measurements(args, Path(folder))
        names = ["rates"] if args.short else args.only or list(measurements)
        if unknown := [name for name in names if name not in measurements]:
            parser.error(f"{unknown[0]!r} is none of {', '.join(measurements)}")
        print(f"{_machine()}\n")
        table.print_header()
        for name in names:
            for row in measurements[name]:
                row.show()


if __name__ == "__main__":
    _main()
