"""A store of each schema, as the program of its time left it: `NNNN.sql` the store, `NNNN.json` what that program said.

Whoever adds step N of the schema makes its files with `python -m tests.stores .venv/bin/ovx-lite`, once the step is as
it will stay; those of older schemas stay as they are. Schema 6 was made by commit 1d8d18f; schemas 1 to 5 were never
released, and no program of today opens them. Every table has rows. All in them is made up, the keys and secrets too.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path

FOLDER = Path(__file__).parent


def dump(file: Path) -> str:
    """A database as SQL."""
    with closing(sqlite3.connect(file)) as conn:
        return "".join(f"{statement}\n" for statement in _statements(conn))


def _statements(conn: sqlite3.Connection) -> Iterator[str]:
    for name in ("application_id", "user_version"):  # iterdump leaves them out
        yield f"PRAGMA {name} = {conn.execute(f'PRAGMA {name}').fetchone()[0]};"
    for prefix, statements in groupby(conn.iterdump(), _insert_prefix):
        if prefix:  # rows of one table, in one statement: they take half of the space
            yield prefix + ",".join(f"\n{row.removeprefix(prefix).removesuffix(';')}" for row in statements) + ";"
        else:
            yield from statements


def _insert_prefix(statement: str) -> str:
    prefix, values, _ = statement.partition(" VALUES(")
    return f"{prefix} VALUES" if values and prefix.startswith("INSERT INTO") else ""


def build(file: Path, sql: str) -> None:
    """Make the database of that SQL, in a folder of its own, with a write-ahead log as stores have it."""
    file.parent.mkdir(mode=0o700, parents=True)
    with closing(sqlite3.connect(file, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.executescript(sql)
