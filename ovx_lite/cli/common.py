"""What the commands share: the options `--data-dir` and `--json`, checks of arguments, and printing."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import msgspec

from ovx_lite.domain.config import default_data_dir
from ovx_lite.domain.errors import ApiError
from ovx_lite.storage.projection.projection import catch_up
from ovx_lite.storage.sqlite import open_store

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")


def data_dir_option(command: F) -> F:
    """Add the option `--data-dir`, as the parameter `data_dir`."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="OVX_DATA_DIR",
        show_envvar=True,
        default=default_data_dir,
        show_default="your system's directory for user data",
        help="The directory of the store.",
    )(command)


def json_option(command: F) -> F:
    """Add the option `--json`, as the parameter `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON value on stdout, and nothing else there."
    )(command)


def open_projected_store(data_dir: Path) -> sqlite3.Connection:
    """Open an existing store, with all accepted events projected: in their visits, and in all counts.

    Raises `ApiError` (`unavailable`).
    """
    conn = open_store(data_dir, create=False)
    catch_up(conn)
    return conn


def check_argument(param_hint: str, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return `check(*args, **kwargs)`. If that raises `ApiError`, raise `click.BadParameter` (exit status 2)."""
    try:
        return check(*args, **kwargs)
    except ApiError as exc:
        raise click.BadParameter(exc.message, param_hint=param_hint) from None


def print_json(value: object) -> None:
    """Print one JSON value on stdout."""
    click.echo(msgspec.json.encode(value))


def printable(value: object) -> str:
    """Return a value as text for a terminal: `?` in place of control characters, which senders of events control."""
    return "".join(char if char.isprintable() else "?" for char in ("" if value is None else str(value)))


def print_table(rows: Sequence[dict[str, Any]], empty_message: str) -> None:
    """Print rows as a table with their keys as the header, or `empty_message` if there are none."""
    if not rows:
        click.echo(empty_message)
        return
    lines = [[str(name) for name in rows[0]]] + [[printable(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
