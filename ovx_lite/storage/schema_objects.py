"""What the schema of a store consists of, and whether a file has exactly that."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache, lru_cache


def statements(script: str) -> Iterator[str]:
    """The statements of an SQL script, one by one."""
    statement = ""
    for part in re.split(r"(?<=;)", script):
        statement += part
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


SchemaObject = tuple[str, str, str, str | None]
"""A row of `sqlite_schema`: type, name, table, and the SQL as tokens; None for SQLite's own indexes."""

_TOKEN = re.compile(
    r"""
    (?P<skipped> [ \t\n\v\f\r]++ | --[^\n]*+ | /\*.*?(?:\*/|\Z) )
    | '(?:[^']|'')*+' | "(?:[^"]|"")*+" | `(?:[^`]|``)*+` | \[[^\]]*+\]
    | [\w$]++ | .
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_QUOTED_NAME = re.compile(r'"([a-z_]+)"')  # SQLite quotes tables that it renames; keywords are in capitals in ours

# SQLite makes these when somebody runs ANALYZE, and Litestream when it replicates the store.
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
    """What the schema of a file has that it should not have, or lacks, a phrase each.

    `scripts` are those that made it. What is compared is the SQL, without comments and white space, so that neither
    triggers, views and indexes nor constraints, defaults and generated columns of somebody else's remain unseen.
    """
    expected, actual = _expected(tuple(scripts)), _objects(conn)
    unexpected = [item for item in actual if (item not in expected and item not in _ALLOWED) or actual.count(item) > 1]
    return [
        *(f"the {object_type} {name!r:.80} is not one of ovx-lite's" for object_type, name, *_ in unexpected),
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
    """The tokens of a statement, with a space between them. Names lose the quotes that they do not need."""
    if sql is None:
        return None
    tokens = (found[0] for found in _TOKEN.finditer(str(sql)) if found["skipped"] is None)
    return " ".join(name[1] if (name := _QUOTED_NAME.fullmatch(token)) else token for token in tokens)
