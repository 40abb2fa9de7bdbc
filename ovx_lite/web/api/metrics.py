"""`GET /metrics`: how the server does, for Prometheus. Numbers alone: no site, address or name is in them."""

import os
from collections.abc import Iterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ovx_lite import __version__
from ovx_lite.http.prometheus import family
from ovx_lite.services.disk_space import MIB
from ovx_lite.services.scheduler import Household
from ovx_lite.storage.priority import LEVELS
from ovx_lite.storage.sqlite import FILE
from ovx_lite.storage.webhooks.delivery_stats import Outlook, outlook
from ovx_lite.web.api.ingest import Api
from ovx_lite.web.common.live_visitors import LiveVisitors

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Answers with all of it."""

    def __init__(self, api: Api, house: Household, live: LiveVisitors) -> None:
        self._api = api
        self._house = house
        self._live = live
        self._started = house.clock.now() / 1000

    async def answer(self, request: Request) -> Response:
        """All families, as they are now."""
        log = await self._house.database.read(outlook)
        return Response("".join(self._families(log)), media_type=_TYPE)

    def _families(self, log: Outlook) -> Iterator[str]:
        ingest, now = self._house.ingest, self._house.clock.now()
        yield family("ovx_info", "gauge", "The version that runs.", [({"version": __version__}, 1)])
        answers = [({"api": api, "status": str(status)}, n) for (api, status), n in sorted(self._api.answers.items())]
        yield family("ovx_answers_total", "counter", "Requests to the ingestion endpoints, by their answers.", answers)
        yield family("ovx_events_total", "counter", "Events that were stored.", [({}, ingest.stored)])
        yield family("ovx_events_waiting", "gauge", "Events that wait for the disk.", [({}, ingest.waiting)])
        yield ingest.commits.shown("ovx_commit_seconds", "How long a group of requests took to be on disk.")
        yield from self._queries()
        states = [({"status": status}, count) for status, count in log.counts.items()]
        yield family("ovx_deliveries", "gauge", "Deliveries to webhooks in the log, by what became of them.", states)
        late = max(now - log.due, 0) / 1000 if log.due is not None else 0
        yield family("ovx_deliveries_late_seconds", "gauge", "How long the oldest delivery is due.", [({}, late)])
        endings = {"file": "", "log": "-wal"}.items()
        parts = [({"part": part}, _size(self._house.data_dir / f"{FILE}{ending}")) for part, ending in endings]
        yield family("ovx_store_bytes", "gauge", "The size of the store's file, and of its log.", parts)
        if (free_bytes := self._house.disk.free_bytes) is not None:
            yield family("ovx_disk_free_bytes", "gauge", "Free space on the store's disk.", [({}, free_bytes)])
        reserve_bytes = self._house.disk.reserve_mib * MIB
        text = "Events are refused while less of the disk is free; 0 for never."
        yield family("ovx_disk_reserve_bytes", "gauge", text, [({}, reserve_bytes)])
        yield family("process_start_time_seconds", "gauge", "When the server began.", [({}, self._started)])
        own = Path("/proc/self")
        if own.exists():
            pages = int((own / "statm").read_text().split()[1])
            memory = pages * os.sysconf("SC_PAGE_SIZE")
            yield family("process_resident_memory_bytes", "gauge", "Memory that is in use.", [({}, memory)])
            yield family("process_open_fds", "gauge", "Open files.", [({}, len(os.listdir(own / "fd")))])

    def _queries(self) -> Iterator[str]:
        queue = self._house.database.queries
        outcomes = [({"level": level, "outcome": outcome}, n) for (level, outcome), n in sorted(queue.outcomes.items())]
        yield family("ovx_queries_total", "counter", "Read queries, by who asked and what came of them.", outcomes)
        for name, counts in (("running", queue.running), ("waiting", queue.waiting)):
            samples = [({"level": level.name}, counts[level.name]) for level in LEVELS]
            yield family(f"ovx_queries_{name}", "gauge", f"Read queries that are {name}, by who asked.", samples)
        sentence = "Callers who listen to a site's active visitors."
        yield family("ovx_live_listeners", "gauge", sentence, [({}, self._live.listeners)])
        sentence = "Counts of active visitors, each for all who listen to a site."
        yield family("ovx_live_counts_total", "counter", sentence, [({}, self._live.counts)])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
