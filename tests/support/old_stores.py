"""A store of the oldest schema that can be upgraded, and the name of its copy."""

import sqlite3
from contextlib import closing
from pathlib import Path

from ovx_lite.storage.sqlite import steps
from tests.stores import FOLDER

NEWEST = max(steps())
BACKUP_NAME = f"ovx-lite-before-schema-{NEWEST}.sqlite3"
OLDEST = (FOLDER / f"{min(steps()):04}.sql").read_text("utf-8")


def schema_version(file: Path) -> int:
    with closing(sqlite3.connect(file)) as conn:
        return int(conn.execute("PRAGMA user_version").fetchone()[0])
