"""`ovx-lite import` and `ovx-lite export`: events in bulk."""

import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from io import BufferedReader
from pathlib import Path
from typing import cast

import click

from ovx_lite.cli.common import data_dir_option, json_option, open_projected_store, print_json
from ovx_lite.domain import config
from ovx_lite.domain.calendar import day_start_ms, local_day
from ovx_lite.domain.clock import SystemClock
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import MAX_TIMESTAMP_MS
from ovx_lite.enrichment.geoip import open_country_data
from ovx_lite.services import exporter, log_reader
from ovx_lite.services.disk_space import DiskSpace
from ovx_lite.services.log_importer import ImportReport, LogImporter
from ovx_lite.storage import registry
from ovx_lite.storage.read.reader import SqliteReader

_EPOCH = date(1970, 1, 1)
_READ_SIZE_BYTES = 1 << 16
_FORMATS = {"csv": exporter.as_csv, "jsonl": exporter.as_jsonl, "json": exporter.as_json}


@click.group("import")
def import_() -> None:
    """Import data from other sources."""


@import_.command("access-log")
@click.argument("site")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@data_dir_option
@json_option
def access_log(site: str, files: tuple[str, ...], data_dir: Path, as_json: bool) -> None:
    """Import pageviews of SITE from the access logs of a web server.

    Reads Combined Log Format (nginx, Apache) and Caddy's JSON, plain or gzipped. A FILE of - is stdin. Each successful
    GET request for a page, unless a bot sent it, becomes a pageview with the time from the log. Lines that were
    imported before add nothing.
    """
    settings = config.read(data_dir, {})
    country_of = open_country_data(Path(settings["country_db"]) if settings["country_db"] else None)
    conn = open_projected_store(data_dir)
    report, disk = ImportReport(), DiskSpace(data_dir, int(settings["disk_reserve"]))
    importer = LogImporter(conn, registry.find_site(conn, site), country_of, SystemClock().now_ms(), disk)
    disk_error: ApiError | None = None
    for file in files:
        try:
            with _open_lines(file) as lines:
                importer.run(lines, report)
        except ApiError as exc:  # the disk is nearly full
            disk_error = exc
            break
        except (OSError, EOFError, zlib.error) as exc:
            raise ApiError(
                "invalid_request",
                f"Cannot read all of {file} ({exc}). The lines before that are imported: repair the file and run the "
                "command again to add the rest.",
            ) from None
        finally:
            _print_broken_lines(file, report)
    if as_json:
        print_json({"read": report.lines_read, "imported": report.imported, "skipped": dict(report.skipped)})
    else:
        click.echo(f"Read {report.lines_read:,} lines, imported {report.imported:,} pageviews.")
        for reason, count in sorted(report.skipped.items()):
            click.echo(f"  skipped {count:>9,}  {reason}")
    if disk_error is not None:
        message = f"{disk_error.message} Then run the command again: lines that are already imported add nothing."
        raise ApiError(disk_error.code, message)


@contextmanager
def _open_lines(file: str) -> Iterator[Iterator[str | int]]:
    """Open a file, gzipped or not, as lines (see `log_reader.lines`), with a progress bar if stderr is a terminal."""
    with nullcontext(cast(BufferedReader, sys.stdin.buffer)) if file == "-" else open(file, "rb") as raw:
        size_bytes = 0 if file == "-" else os.fstat(raw.fileno()).st_size
        hidden = not (size_bytes and sys.stderr.isatty())
        with click.progressbar(length=size_bytes, label=Path(file).name, file=sys.stderr, hidden=hidden) as bar:
            yield log_reader.lines(log_reader.decompress_if_gzipped(_read_chunks(raw, bar.update)))


def _read_chunks(raw: BufferedReader, report_progress: Callable[[int], None]) -> Iterator[bytes]:
    while chunk := raw.read1(_READ_SIZE_BYTES):
        report_progress(len(chunk))
        yield chunk


def _print_broken_lines(file: str, report: ImportReport) -> None:
    for line_number in report.broken_line_numbers:
        click.echo(f"{file}, line {line_number}: skipped, not in Combined Log Format or Caddy's JSON", err=True)
    if report.broken_line_count > len(report.broken_line_numbers):
        click.echo(f"{file}: {report.broken_line_count - len(report.broken_line_numbers)} more such lines", err=True)


@click.command()
@click.argument("site")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="CSV with a header, or one JSON object per line.",
)
@click.option(
    "--from",
    "first_day",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="First day, in the site's time zone.",
)
@click.option(
    "--to",
    "last_day",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Last day, in the site's time zone.",
)
@click.option("--include-excluded", is_flag=True, help="Include events that are in no count, such as bots.")
@data_dir_option
@json_option
def export(
    site: str,
    format_: str,
    first_day: date | None,
    last_day: date | None,
    include_excluded: bool,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Write the events of SITE to stdout, oldest first.

    docs/reference.md describes the columns.
    """
    conn = open_projected_store(data_dir)
    exported_site = registry.find_site(conn, site)
    since_ms = 0 if first_day is None else _day_start_ms(_day_number(first_day), exported_site.timezone)
    until_ms = (
        MAX_TIMESTAMP_MS if last_day is None else _day_start_ms(_day_number(last_day) + 1, exported_site.timezone)
    )
    rows = SqliteReader(conn).events(exported_site, since_ms, until_ms, include_excluded)
    try:
        for text in _FORMATS["json" if as_json else format_](rows):
            sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has ended, as in `ovx-lite export my-site | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _day_number(day: date) -> int:
    """Return a date as days since 1970-01-01."""
    return day.toordinal() - _EPOCH.toordinal()


def _day_start_ms(day_number: int, timezone: str) -> int:
    """Return when a day begins, in Unix milliseconds, limited to the range of event times, 0 to `MAX_TIMESTAMP_MS`."""
    if day_number <= 0:
        return 0
    return MAX_TIMESTAMP_MS if day_number > local_day(MAX_TIMESTAMP_MS, "UTC") else day_start_ms(day_number, timezone)
