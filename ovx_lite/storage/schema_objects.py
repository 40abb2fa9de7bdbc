"""Compares the schema of a file with the schema that SQL scripts create."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache, lru_cache


def statements(script: str) -> Iterator[str]:
    """Yield the statements of an SQL script one by one."""
    statement = ""
    for part in re.split(r"(?<=;)", script):
        statement += part
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


SchemaObject = tuple[str, str, str, str | None]
"""A row of `sqlite_schema`: type, name, table, and the normalized SQL, which is `None` for SQLite's own indexes."""

_TOKEN = re.compile(
    r"""
    (?P<skipped> [ \t\n\v\f\r]++ | --[^\n]*+ | /\*.*?(?:\*/|\Z) )
    | '(?:[^']|'')*+' | "(?:[^"]|"")*+" | `(?:[^`]|``)*+` | \[[^\]]*+\]
    | [\w$]++ | .
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_QUOTED_NAME = re.compile(
    r'"([a-z_]+)"'
)  # SQLite quotes the names of renamed tables; a lower-case word is never a keyword in our SQL

# SQLite creates the first two when somebody runs ANALYZE, and Litestream the others when it replicates the store.
_ALLOWED: frozenset[SchemaObject] = frozenset(
    ("table", name, name, f"CREATE TABLE {name} ( {columns} )")
    for name, columns in (
        ("sqlite_stat1", "tbl , idx , stat"),
        ("sqlite_stat4", "tbl , idx , neq , nlt , ndlt , sample"),
        ("_litestream_seq", "id INTEGER PRIMARY KEY , seq INTEGER"),
        ("_litestream_lock", "id INTEGER"),
    )
)


def differences(conn: sqlite3.Connection, scripts: Sequence[str]) -> list[str]:
    """Return the unexpected and the missing objects in the schema of a file, a phrase each.

    `scripts` create the expected schema. This compares the SQL itself, without comments and white space. So it finds
    not only added triggers, views and indexes, but also changed constraints, defaults and generated columns.
    """
    expected, actual = _expected(tuple(scripts)), _objects(conn)
    unexpected = [item for item in actual if (item not in expected and item not in _ALLOWED) or actual.count(item) > 1]
    return [
        *(f"the {object_type} {name!r:.80} is not part of ovx-lite's schema" for object_type, name, *_ in unexpected),
        *(
            f"the {object_type} {name!r} is missing"
            for object_type, name, *_ in sorted(expected - set(actual), key=str)
        ),
    ]


@cache
def _expected(scripts: tuple[str, ...]) -> frozenset[SchemaObject]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        for script in scripts:
            for statement in statements(script):
                conn.execute(statement)
        return frozenset(_objects(conn))


def _objects(conn: sqlite3.Connection) -> list[SchemaObject]:
    rows = conn.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")
    return [(str(object_type), str(name), str(table), normalized(sql)) for object_type, name, table, sql in rows]


@lru_cache(maxsize=256)
def normalized(sql: object) -> str | None:
    """Return the tokens of a statement, joined by spaces. Removes comments, and quotes that a name does not need."""
    if sql is None:
        return None
    tokens = (match[0] for match in _TOKEN.finditer(str(sql)) if match["skipped"] is None)
    return " ".join(name[1] if (name := _QUOTED_NAME.fullmatch(token)) else token for token in tokens)
