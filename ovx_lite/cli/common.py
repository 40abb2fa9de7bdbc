"""What commands share: the data dir, `--json`, and how results are printed."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import msgspec

from ovx_lite.domain.config import default_data_dir
from ovx_lite.domain.errors import ApiError
from ovx_lite.storage.sqlite import open_store

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")


def data_dir(command: F) -> F:
    """The option `--data-dir`, as the argument `data_dir`."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="OVX_DATA_DIR",
        default=default_data_dir,
        show_default="the platform's folder for user data",
        help="The folder that holds the store (or OVX_DATA_DIR).",
    )(command)


def as_json(command: F) -> F:
    """The option `--json`, as the argument `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON value on stdout, and nothing else there."
    )(command)


def store(data_dir: Path, create: bool = False) -> sqlite3.Connection:
    """Open the store for a command; raises `ApiError` if that cannot be."""
    return open_store(data_dir, create)


def judged(hint: str, rule: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a rule makes of an argument or option, of that name. Raises `click.BadParameter` if it is a wrong call."""
    try:
        return rule(*args, **kwargs)
    except ApiError as refused:
        raise click.BadParameter(refused.message, param_hint=hint) from None


def print_json(value: object) -> None:
    """Print one JSON value on stdout."""
    click.echo(msgspec.json.encode(value))


def printable(value: object) -> str:
    """A value for a terminal, which callers' control characters are not to reach."""
    return "".join(letter if letter.isprintable() else "?" for letter in ("" if value is None else str(value)))


def print_table(rows: Sequence[dict[str, Any]], empty: str) -> None:
    """Print rows in columns under their keys, or the sentence `empty` if there are none."""
    if not rows:
        click.echo(empty)
        return
    cells = [[str(name) for name in rows[0]]] + [[printable(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
