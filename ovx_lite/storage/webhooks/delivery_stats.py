"""Numbers about the deliveries of all sites."""

import sqlite3
from typing import NamedTuple

from ovx_lite.storage.webhooks.delivery_log import STATUSES


class DeliveryStats(NamedTuple):
    """How many deliveries have each status, and when the next pending one is due (Unix ms, or `None`)."""

    counts: dict[str, int]
    next_attempt_at_ms: int | None


def load_delivery_stats(conn: sqlite3.Connection) -> DeliveryStats:
    """Return the delivery stats over all sites."""
    counts = dict.fromkeys(STATUSES, 0) | dict(conn.execute("SELECT status, count(*) FROM deliveries GROUP BY status"))
    query = "SELECT min(next_attempt_at) FROM deliveries WHERE status = 'pending'"
    return DeliveryStats(counts, conn.execute(query).fetchone()[0])
