"""`python -m benchmarks`: the performance of one core, as the table in docs/proofs.md.

With `--short`, it measures only the rates, and fails if they are far below the usual ones.
"""

import argparse
import datetime
import os
import platform
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from benchmarks import dashboard, disk, rates, soak, table, webhooks
from benchmarks.table import Row


def _machine() -> str:
    """Return the date, versions and machine of the run."""
    cores, day = os.cpu_count(), datetime.datetime.now(datetime.UTC).date()
    model = [line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    processor = model[0] if model else platform.processor()
    return f"{day}, ovx-lite {version('ovx-lite')}, Python {platform.python_version()}, {cores} cores, {processor}"


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines() if Path(file).exists() else []


def _rows(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    yield from rates.rows(folder / "rates", args.rounds, args.seconds, args.connections)
    if args.short:
        return
    yield from chain(
        webhooks.rows(folder / "webhooks"),
        disk.rows(folder / "disk", 200_000),
        dashboard.rows(args.stores or folder),
        soak.rows(folder / "soak", args.minutes),
    )


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="measure only the rates")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--minutes", type=int, default=60, help="minutes of steady load")
    parser.add_argument("--stores", type=Path, help="a folder in which to keep the stores of 1 and 10 million events")
    args = parser.parse_args()
    print(f"{_machine()}\n")
    table.print_header()
    with tempfile.TemporaryDirectory() as folder:
        for row in _rows(args, Path(folder)):
            row.show()


if __name__ == "__main__":
    _main()
