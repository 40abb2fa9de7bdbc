"""Rate limits, as callers see them."""

import time
from collections.abc import Callable
from contextlib import closing

from ovx_lite.auth import api_keys
from ovx_lite.domain.models import ApiKey
from ovx_lite.storage import registry
from ovx_lite.storage.sqlite import open_store
from tests.conftest import Response, Store


def add_keys(store: Store, count: int) -> list[str]:
    """Add keys with 5 events an hour to the first site; the command line would take seconds for many keys."""
    keys = []
    with closing(open_store(store.path)) as conn:
        for _ in range(count):
            id, key, digest = api_keys.new_key()
            registry.add_api_key(conn, ApiKey(id, 1, "", "free", 5, digest, 0, None))
            keys.append(key)
    return keys


def remaining(response: Response) -> int:
    return int(response.headers["ratelimit-remaining"])


def assert_limited(response: Response) -> None:
    assert response.error == (429, "rate_limit_exceeded", None)
    assert 1 <= int(response.headers["retry-after"]) <= 3600


def send_until(send: Callable[[], Response], is_expected: Callable[[Response], bool]) -> Response:
    deadline_s = time.monotonic() + 20  # takes about a second on an idle machine
    while not is_expected(response := send()):
        assert time.monotonic() < deadline_s, response
        time.sleep(0.02)
    return response
