"""`ovx-lite import`, `export`, `check`, `backup`, `prune`: the data in bulk."""

import os
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from io import BufferedReader
from pathlib import Path
from typing import cast

import click

from ovx_lite.cli.common import as_json, data_dir, print_json, store
from ovx_lite.domain import config
from ovx_lite.domain.calendar import day_start_ms
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import MAX_TIMESTAMP_MS
from ovx_lite.enrichment.geoip import open_country_data
from ovx_lite.services import backups, exporter, log_reader
from ovx_lite.services.disk_space import DiskSpace
from ovx_lite.services.log_importer import ImportReport, LogImporter
from ovx_lite.services.retention import prune as prune_events
from ovx_lite.storage import integrity as checks
from ovx_lite.storage import registry, retention
from ovx_lite.storage.copies import copy
from ovx_lite.storage.read import events
from ovx_lite.storage.rollups import goal_backfill, rebuild
from ovx_lite.storage.sqlite import LOCK_FILE, STORE_FILE

_EPOCH = date(1970, 1, 1)
_FORMATS = {"csv": exporter.as_csv, "jsonl": exporter.as_jsonl, "json": exporter.as_json}


@click.group("import")
def import_() -> None:
    """Bring in what was counted elsewhere."""


@import_.command("access-log")
@click.argument("site")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@data_dir
@as_json
def access_log(site: str, files: tuple[str, ...], data_dir: Path, as_json: bool) -> None:
    """Import page views into SITE from access logs: Combined Log Format (nginx, Apache) or Caddy's JSON.

    FILE may be gzipped; - is standard input. Counted are successful GETs of pages by people, at the log's own
    times. Lines that were imported before add nothing.
    """
    values = config.read(data_dir, {})
    country_of = open_country_data(Path(values["country_db"]) if values["country_db"] else None)
    conn = store(data_dir)
    report, disk = ImportReport(), DiskSpace(data_dir, int(values["disk_reserve"]))
    importer = LogImporter(conn, registry.find_site(conn, site), country_of, SystemClock().now_ms(), disk)
    stopped: ApiError | None = None
    for name in files:
        try:
            with _lines(name) as lines:
                importer.run(lines, report)
        except ApiError as refused:  # the disk is low
            stopped = refused
            break
        except (OSError, EOFError, zlib.error) as wrong:
            raise ApiError(
                "invalid_request",
                f"{name} cannot be read to its end ({wrong}). What was read is imported; a second try adds the rest.",
            ) from None
        finally:
            _name_broken(name, report)
    if as_json:
        print_json({"read": report.lines_read, "imported": report.imported, "skipped": dict(report.skipped)})
    else:
        click.echo(f"Read {report.lines_read:,} lines, imported {report.imported:,} page views.")
        for reason, count in sorted(report.skipped.items()):
            click.echo(f"  skipped {count:>9,}  {reason}")
    if stopped is not None:
        message = f"{stopped.message} Then run it again: what is imported already adds nothing."
        raise ApiError(stopped.code, message)


@contextmanager
def _lines(name: str) -> Iterator[Iterator[str | int]]:
    """The lines of a file, gzipped or not, with a progress bar on a terminal."""
    with nullcontext(cast(BufferedReader, sys.stdin.buffer)) if name == "-" else open(name, "rb") as raw:
        size = 0 if name == "-" else os.fstat(raw.fileno()).st_size
        with click.progressbar(
            length=size, label=Path(name).name, file=sys.stderr, hidden=not (size and sys.stderr.isatty())
        ) as bar:
            yield log_reader.lines(log_reader.decompress_if_gzipped(_watched(raw, bar.update)))


def _watched(raw: BufferedReader, progress: Callable[[int], None]) -> Iterator[bytes]:
    while piece := raw.read1(1 << 16):
        progress(len(piece))
        yield piece


def _name_broken(name: str, report: ImportReport) -> None:
    for number in report.broken_line_numbers:
        click.echo(f"{name}, line {number}: not in Combined Log Format, skipped", err=True)
    if report.broken_line_count > len(report.broken_line_numbers):
        click.echo(f"{name}: {report.broken_line_count - len(report.broken_line_numbers)} more such lines", err=True)


@click.command()
@click.argument("site")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="CSV with a header, or one JSON object a line.",
)
@click.option(
    "--from",
    "since",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="First day, in the site's time zone.",
)
@click.option(
    "--to", "until", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="Last day, in the site's time zone."
)
@click.option("--include-excluded", is_flag=True, help="Also what is in no count, like bots, with the reason.")
@data_dir
@as_json
def export(
    site: str,
    format_: str,
    since: date | None,
    until: date | None,
    include_excluded: bool,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Write the events of SITE to stdout, oldest first. docs/reference.md describes the columns."""
    conn = store(data_dir)
    found = registry.find_site(conn, site)
    begin = 0 if since is None else _day_begins(_day(since), found.timezone)
    end = MAX_TIMESTAMP_MS if until is None else _day_begins(_day(until) + 1, found.timezone)
    rows = events.read(conn, found, begin, end, include_excluded)
    try:
        for piece in _FORMATS["json" if as_json else format_](rows):
            sys.stdout.buffer.write(piece.encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # as in: ovx-lite export my-site | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _day(when: date) -> int:
    return when.toordinal() - _EPOCH.toordinal()


def _day_begins(day: int, timezone: str) -> int:
    """When a day begins (Unix ms), as far as events can be."""
    if day <= 0:
        return 0
    return MAX_TIMESTAMP_MS if day > MAX_TIMESTAMP_MS // 86_400_000 else day_start_ms(day, timezone)


@click.command()
@click.option("--rebuild", is_flag=True, help="First count everything anew, from the events.")
@data_dir
@as_json
def check(rebuild: bool, data_dir: Path, as_json: bool) -> None:
    """Check that the store is whole, and counted right. May run beside the server. Exit status 1 if it is not."""
    try:
        conn = store(data_dir)
    except ApiError as refused:
        if as_json and (data_dir / STORE_FILE).exists():
            print_json({"ok": False, "problems": [refused.message]})
        raise
    if rebuild:
        _rebuild(conn)
    problems = checks.problems(conn)
    sizes = {} if problems else checks.sizes(conn)
    if as_json:
        print_json({"ok": not problems, "problems": problems, **sizes})
    elif problems:
        click.echo("\n".join(problems))
    else:
        click.echo(", ".join(f"{count:,} {what}" for what, count in sizes.items()) + ": all is well.")
    if any("--rebuild" not in problem for problem in problems):
        click.echo("The store is damaged: stop the server, and put back a backup.", err=True)
    if problems:
        sys.exit(1)


def _rebuild(conn: sqlite3.Connection) -> None:
    """Count all days of all sites anew, one after the other: a server may write in between."""
    days = sum(rebuild.mark_all_dirty(conn, site) for site in registry.all_sites(conn))
    with click.progressbar(length=days, label="Counting", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        while goal_backfill.is_behind(conn):
            bar.update(goal_backfill.catch_up(conn))


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@data_dir
@as_json
def backup(file: Path, overwrite: bool, data_dir: Path, as_json: bool) -> None:
    """Copy the store to FILE, whole and compact, while the server runs; `restore` puts it back."""
    if file.exists() and not overwrite:
        raise ApiError("invalid_request", f"{file} exists: choose another name, or pass --overwrite.")
    target = file.resolve()
    if target.exists() and not target.is_file():
        raise ApiError("invalid_request", f"{file} is no file: choose another name.")
    conn = store(data_dir)
    if target in [
        (data_dir / name).resolve()
        for name in (STORE_FILE, f"{STORE_FILE}-wal", f"{STORE_FILE}-shm", LOCK_FILE, config.FILE_NAME)
    ]:
        raise ApiError("invalid_request", f"{file} is the store itself, or its server's: choose another name.")
    copy(conn, target)
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "bytes": size})
    else:
        click.echo(f"Copied the store to {file} ({size:,} bytes).")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Also if there is a store already, which is kept beside it.")
@data_dir
@as_json
def restore(file: Path, overwrite: bool, data_dir: Path, as_json: bool) -> None:
    """Put back FILE, a copy that backup has made, after looking whether it is whole. Stop the server first."""
    if (data_dir / STORE_FILE).exists() and not overwrite:
        raise ApiError("invalid_request", f"There is a store in {data_dir}: pass --overwrite to put it aside.")
    before = backups.restore(data_dir, file)
    if as_json:
        print_json({"file": str(data_dir / STORE_FILE), "before": None if before is None else str(before)})
    else:
        kept = "" if before is None else f" What was there before is in {before}."
        click.echo(f"Restored the store from {file}.{kept}")


@click.command()
@click.option("--yes", is_flag=True, help="The clock is right: delete although it differs from the last run's.")
@data_dir
@as_json
def prune(yes: bool, data_dir: Path, as_json: bool) -> None:
    """Delete what is past its site's retention, now; the server does it every hour.

    Nothing is deleted while the clock is more than a day away from the last run: it may have jumped. --yes confirms
    the clock, also for the server.
    """
    conn, now_ms = store(data_dir), SystemClock().now_ms()
    if yes:
        retention.confirm(conn, now_ms)
    deleted = prune_events(conn, registry.load(conn), now_ms)
    if as_json:
        print_json({"events": deleted})
    else:
        click.echo(f"Deleted {deleted:,} events.")
