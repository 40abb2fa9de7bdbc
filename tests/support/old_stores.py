"""A store as the first schema had it."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ovx_lite.auth import api_keys
from ovx_lite.domain.calendar import local_day
from ovx_lite.storage.sqlite import steps
from tests.conftest import CHROME

COPY = f"ovx-lite-before-schema-{len(steps())}.sqlite3"
MINUTE = 60_000
NOW = int(time.time() * 1000)
NOON = f"Etc/GMT{datetime.now(UTC).hour - 12:+}"  # where it is noon now, and midnight is far
SALT = b"salt of the day".ljust(32, b".")
KEY_ID, KEY, DIGEST = api_keys.new_key()
VISITOR = int.from_bytes(
    blake2b(f"{local_day(NOW, NOON)}\n203.0.113.9\n{CHROME}".encode(), digest_size=6, key=SALT).digest(),
    "big",
    signed=True,
)
TIMES = [NOW - minutes * MINUTE for minutes in (3 * 24 * 60, 20, 15, 10)]  # the first told of three days ago
NUMBERS = [ts << 21 | counter for counter, ts in enumerate(TIMES, 7)]
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "sites": [
        (3, "my-site", "My site", "example.com", NOON, "pk_live_a", "jwt a", 1000, 400, NOW - 10**9),
        (5, "other-site", "Other", "example.org", "UTC", "pk_live_b", "jwt b", None, None, NOW - 10**9),
    ],
    "keys": [(KEY_ID, 3, "label", "enterprise", None, DIGEST, NOW - 10**9, None)],
    "salts": [(3, local_day(NOW, NOON), SALT)],
    "pages": [(1, "https", "example.com", "/"), (2, "https", "example.com", "/pricing")],
    "origins": [(1, "google.com/", "google", "search", "", "", "", "", ""), (2, "", "x", "campaign", *"xmcot")],
    "clients": [(4, "Chrome", "Windows", "desktop", "FR"), (5, "", "", "", "")],
    "kinds": [
        (2, "ovyxa", "pageview", "pageview", ""),
        (6, "ovyxa", "event", "signup", ""),
        (7, "ovyxa", "pageview", "pageview", "bot"),
        (9, "import", "pageview", "pageview", ""),
    ],
    "events": [
        (3, NUMBERS[0], 9, 2, 2, 5, 0, None, 77),
        (3, NUMBERS[1], 2, 1, 1, 4, 0, None, None),
        (3, NUMBERS[2], 6, 2, 1, 4, NUMBERS[2] - NUMBERS[1], '{"plan":"pro","seats":3}', None),
        (3, NUMBERS[3], 7, 1, 1, 5, None, None, None),
        (5, NUMBERS[1], 2, 1, 1, 4, 0, None, None),
    ],
    "visits": [
        (3, NUMBERS[0], 12345, 0, 0, 1, 1),
        (3, NUMBERS[1], VISITOR, 0, 5 * MINUTE, 1, 2),
        (5, NUMBERS[1], -12345, 0, 0, 1, 1),
    ],
    "open_visits": [(3, VISITOR, NUMBERS[1])],
    "answers": [
        (3, "key", b"fingerprint", 201, b'{"success":true}', NOW),
        (3, "queued", b"fingerprint", 202, b'{"queued":true}', NOW),
        (3, "received", b"fingerprint", 200, b'{"received":1}', NOW),
    ],
    "usage": [(KEY_ID, NOW // 1000, 1)],
}


def version(file: Path) -> int:
    with closing(sqlite3.connect(file)) as conn:
        return int(conn.execute("PRAGMA user_version").fetchone()[0])
