"""`GET /metrics`: numbers for Prometheus and nothing else."""

import re

from tests.conftest import Start, Store
from tests.support.emulator import custom
from tests.support.metrics import samples


def test_events_responses_and_commits_are_counted(store: Store, start: Start) -> None:
    store.site("site_abc123", "--domain", "secret.example")
    key, server = store.key("site_abc123"), start(store)
    before = samples(server.send("/metrics", method="GET").body.decode())
    assert before["ovx_events_total"] == 0
    for _ in range(3):
        assert server.send("/api/v1/events/custom", custom(), key).status == 201
    assert server.send("/api/v1/events/custom", {}, key).status == 400
    views = [{"type": "pageview", "url": "https://secret.example/"}] * 5
    assert server.send("/api/v1/events/batch", {"site_id": "site_abc123", "events": views}, key).status == 201
    response = server.send("/metrics", method="GET")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    after = samples(response.body.decode())
    assert after["ovx_events_total"] == 8
    assert after['ovx_answers_total{api="ovyxa",status="201"}'] == 4
    assert after['ovx_answers_total{api="ovyxa",status="400"}'] == 1
    assert after["ovx_commit_seconds_count"] == after['ovx_commit_seconds_bucket{le="+Inf"}'] == 4
    assert after['ovx_store_bytes{part="file"}'] > 0
    assert after['ovx_deliveries{status="pending"}'] == after["ovx_events_waiting"] == 0
    assert not re.search(r"secret|site_abc123|ovx_[A-Za-z0-9]{20}|127\.0\.0\.1", response.body.decode())


def test_a_pending_delivery_is_counted(store: Store, start: Start) -> None:
    store.site("site_abc123")
    store.call("goal", "add", "site_abc123", "Sign-up", "--event", "signup")
    server = start(store, "--webhook-allow-net", "127.0.0.0/8")
    url = f"{server.url}/nowhere"  # it returns 404, so the delivery is retried
    allowed = {"OVX_WEBHOOK_ALLOW_NET": "127.0.0.0/8"}
    command = ("webhook", "add", "site_abc123", url, "--on", "goal.completed")
    assert store.spawn(*command, env=allowed).exit_status == 0
    assert server.send("/api/v1/events/custom", custom(), store.key("site_abc123")).status == 201
    metrics = samples(server.send("/metrics", method="GET").body.decode())
    assert metrics['ovx_deliveries{status="pending"}'] == 1
