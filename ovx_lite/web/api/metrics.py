"""`GET /metrics`, for Prometheus. It contains no site, IP address or name (docs/operations.md, Metrics)."""

import os
from collections.abc import Iterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite import __version__
from ovx_lite.http.prometheus import render_family
from ovx_lite.services.disk_space import MIB
from ovx_lite.services.services import Services
from ovx_lite.storage.priority import LEVELS
from ovx_lite.storage.sqlite import STORE_FILE
from ovx_lite.storage.webhooks.delivery_stats import DeliveryStats, load_delivery_stats
from ovx_lite.web.api.ingest import Api
from ovx_lite.web.common.live_visitors import LiveVisitors

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Answers with the metrics of the server."""

    def __init__(self, api: Api, services: Services, live_visitors: LiveVisitors) -> None:
        self._api = api
        self._services = services
        self._live_visitors = live_visitors
        self._started_at_s = services.clock.now_ms() / 1000

    async def handle(self, request: Request) -> Response:
        """Return all metric families with their current values."""
        deliveries = await self._services.database.read(load_delivery_stats)
        return Response("".join(self._families(deliveries)), media_type=_CONTENT_TYPE)

    def _families(self, deliveries: DeliveryStats) -> Iterator[str]:
        writer, now_ms = self._services.writer, self._services.clock.now_ms()
        yield render_family("ovx_info", "gauge", "The version of ovx-lite.", [({"version": __version__}, 1)])
        responses = [
            ({"api": api, "status": str(status)}, count)
            for (api, status), count in sorted(self._api.response_counts.items())
        ]
        yield render_family(
            "ovx_answers_total", "counter", "Responses of the ingestion endpoints, by API and status.", responses
        )
        yield render_family("ovx_events_total", "counter", "Stored events.", [({}, writer.stored_events)])
        yield render_family(
            "ovx_events_waiting", "gauge", "Events that wait for the disk.", [({}, writer.queued_events)]
        )
        yield writer.commit_durations.render(
            "ovx_commit_seconds", "How long it took to write a group of requests to disk."
        )
        yield from self._projection()
        yield from self._queries()
        statuses = [({"status": status}, count) for status, count in deliveries.counts.items()]
        yield render_family("ovx_deliveries", "gauge", "Webhook deliveries in the log, by status.", statuses)
        late_s = (
            max(now_ms - deliveries.next_attempt_at_ms, 0) / 1000 if deliveries.next_attempt_at_ms is not None else 0
        )
        yield render_family(
            "ovx_deliveries_late_seconds", "gauge", "How long the oldest waiting delivery has been due.", [({}, late_s)]
        )
        suffixes = {"file": "", "log": "-wal"}.items()
        parts = [
            ({"part": part}, _size_bytes(self._services.data_dir / f"{STORE_FILE}{suffix}"))
            for part, suffix in suffixes
        ]
        yield render_family("ovx_store_bytes", "gauge", "Size of the store's file and of its write-ahead log.", parts)
        if (free_bytes := self._services.disk.free_bytes) is not None:
            yield render_family("ovx_disk_free_bytes", "gauge", "Free space on the store's disk.", [({}, free_bytes)])
        reserve_bytes = self._services.disk.reserve_mib * MIB
        help_text = "Events are rejected while less than this is free; 0 turns that off."
        yield render_family("ovx_disk_reserve_bytes", "gauge", help_text, [({}, reserve_bytes)])
        yield render_family(
            "process_start_time_seconds", "gauge", "When the server started (Unix seconds).", [({}, self._started_at_s)]
        )
        proc = Path("/proc/self")
        if proc.exists():
            resident_pages = int((proc / "statm").read_text().split()[1])
            memory_bytes = resident_pages * os.sysconf("SC_PAGE_SIZE")
            yield render_family("process_resident_memory_bytes", "gauge", "Resident memory.", [({}, memory_bytes)])
            yield render_family("process_open_fds", "gauge", "Open files.", [({}, len(os.listdir(proc / "fd")))])

    def _projection(self) -> Iterator[str]:
        projector = self._services.projector
        help_text = "Accepted events that are not projected yet: not in their visits and in the counts."
        yield render_family("ovx_journal_events", "gauge", help_text, [({}, projector.waiting_events)])
        help_text = "How long the oldest of these events has been waiting."
        yield render_family("ovx_projection_lag_seconds", "gauge", help_text, [({}, projector.lag_s)])
        help_text = "How long it took to project a slice of the journal."
        yield projector.slice_durations.render("ovx_projection_seconds", help_text)

    def _queries(self) -> Iterator[str]:
        queue = self._services.database.queries
        outcomes = [
            ({"level": level, "outcome": outcome}, count) for (level, outcome), count in sorted(queue.outcomes.items())
        ]
        yield render_family("ovx_queries_total", "counter", "Read queries, by level and outcome.", outcomes)
        for name, counts in (("running", queue.running), ("waiting", queue.waiting)):
            samples = [({"level": level.name}, counts[level.name]) for level in LEVELS]
            yield render_family(f"ovx_queries_{name}", "gauge", f"Read queries that are {name}, by level.", samples)
        help_text = "Connections that watch the number of active visitors."
        yield render_family("ovx_live_listeners", "gauge", help_text, [({}, self._live_visitors.listeners)])
        help_text = "How often active visitors were counted, each time for all listeners of a site."
        yield render_family("ovx_live_counts_total", "counter", help_text, [({}, self._live_visitors.total_counts)])


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
