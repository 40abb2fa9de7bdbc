"""Metrics, as Prometheus parses them."""

import re
import time

from tests.conftest import Server

SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="[^"\n]*",?)+\})? (\S+)')


def samples(text: str) -> dict[str, float]:
    """Return all samples of a metrics page, and check its format."""
    values, families = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            families.add(line.split()[2])
        elif not line.startswith("# HELP "):
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert re.sub("_(bucket|sum|count)$", "", sample[1]) in families, line
            values[sample[1] + (sample[2] or "")] = float(sample[3])
    assert text.endswith("\n")
    return values


def wait_until_projected(server: Server, timeout_s: float = 30) -> None:
    """Wait until the journal is empty."""
    deadline_s = time.monotonic() + timeout_s
    while samples(server.send("/metrics", method="GET").body.decode()).get("ovx_journal_events", 0):
        assert time.monotonic() < deadline_s, "the journal was not projected in time"
        time.sleep(0.01)
