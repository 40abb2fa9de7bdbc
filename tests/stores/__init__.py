"""A store of each schema, made by the program of its time: `NNNN.sql` is the store, `NNNN.json` the program's outputs.

If you add step N of the schema, make its files with `python -m tests.stores .venv/bin/ovx-lite` once the step is final.
Never change the files of older schemas. Commit 1d8d18f made those of schema 6; schemas 1 to 5 were never released, and
the current program cannot open them. Every table has rows. All data is made up, including the keys and secrets.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path

FOLDER = Path(__file__).parent


def dump(file: Path) -> str:
    """Return a database as SQL."""
    with closing(sqlite3.connect(file)) as conn:
        return "".join(f"{statement}\n" for statement in _statements(conn))


def _statements(conn: sqlite3.Connection) -> Iterator[str]:
    for name in ("application_id", "user_version"):  # iterdump omits them
        yield f"PRAGMA {name} = {conn.execute(f'PRAGMA {name}').fetchone()[0]};"
    for prefix, statements in groupby(conn.iterdump(), _insert_prefix):
        if prefix:  # all rows of a table in one statement take half the space
            yield prefix + ",".join(f"\n{row.removeprefix(prefix).removesuffix(';')}" for row in statements) + ";"
        else:
            yield from statements


def _insert_prefix(statement: str) -> str:
    prefix, values, _ = statement.partition(" VALUES(")
    return f"{prefix} VALUES" if values and prefix.startswith("INSERT INTO") else ""


def build(file: Path, sql: str) -> None:
    """Create a database from SQL in a new folder, with a write-ahead log, as stores have one."""
    file.parent.mkdir(mode=0o700, parents=True)
    with closing(sqlite3.connect(file, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.executescript(sql)
