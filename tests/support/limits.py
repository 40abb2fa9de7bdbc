"""Rate limits as callers see them."""

import time
from collections.abc import Callable
from contextlib import closing

from ovx_lite.auth import api_keys
from ovx_lite.domain.models import Key
from ovx_lite.storage import registry
from ovx_lite.storage.sqlite import open_store
from tests.conftest import Answer, Store


def add_keys(store: Store, count: int) -> list[str]:
    """Add keys of 5 events an hour to the first site, as the command line would, which takes seconds for so many."""
    keys = []
    with closing(open_store(store.path)) as conn:
        for _ in range(count):
            id, key, digest = api_keys.new_key()
            registry.add_key(conn, Key(id, 1, "", "free", 5, digest, 0, None))
            keys.append(key)
    return keys


def remaining(answer: Answer) -> int:
    return int(answer.headers["ratelimit-remaining"])


def assert_limited(answer: Answer) -> None:
    assert answer.error == (429, "rate_limit_exceeded", None)
    assert 1 <= int(answer.headers["retry-after"]) <= 3600


def until(send: Callable[[], Answer], good: Callable[[Answer], bool]) -> Answer:
    deadline = time.monotonic() + 20  # a second on any machine that has the time
    while not good(answer := send()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer
