"""One server on one store: changes of the file and other processes while it runs."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from ovx_lite.storage.sqlite import STORE_FILE
from tests.conftest import CHROME, RunningSite, Start, Store
from tests.support.processes import Process, program

LOG_LINE = b'1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /%d HTTP/1.1" 200 1 "-" "' + CHROME.encode() + b'"\n'


def test_no_event_is_acknowledged_once_the_store_is_gone(store: Store, start: Start) -> None:
    store.site()
    key, server = store.key(), start(store)
    assert server.pageview(key).status == 201
    shutil.rmtree(store.path)
    assert server.pageview(key).error == (503, "unavailable", None)
    assert server.send("/healthz", method="GET").status == 503
    store.site()  # another store at the same path
    assert server.pageview(key).error == (503, "unavailable", None)


@pytest.mark.parametrize("change", ["removed", "moved", "replaced"])
def test_the_server_stops_even_if_the_store_is_gone(store: Store, start: Start, change: str, tmp_path: Path) -> None:
    store.site()
    key, server = store.key(), start(store)
    assert server.pageview(key).status == 201  # the last use of the key is not written yet
    if change == "moved":
        store.path.rename(tmp_path / "elsewhere")
    else:
        (store.path / STORE_FILE).unlink()
    if change == "replaced":
        store.site("another")
    server.stop()  # fails after 30 seconds
    assert "Traceback" not in server.log_path.read_text()


def test_a_stop_does_not_wait_long_for_a_body(start: Start, store: Store) -> None:
    store.site()
    key, server = store.key(), start(store, constants={"ovx_lite.http.body._SHUTDOWN_TIMEOUT_S": 0.3})
    head = f"POST /api/v1/events/pageview HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head.encode() + b"Content-Length: 99\r\n\r\n{")
        while server.pageview(key).status != 201:
            pass
        assert server.stop() == 0
        assert client.recv(1000).startswith(b"HTTP/1.1 400")
    assert "Traceback" not in server.log_path.read_text()


def test_a_second_server_on_a_data_dir_is_refused(running: RunningSite) -> None:
    result = running.store.run("serve", "--port", "0")
    assert (result.exit_status, result.stdout) == (1, "")
    assert "Another server is using the store" in result.stderr
    assert running.server.pageview(running.key).status == 201


def test_a_server_may_start_where_another_was_killed(store: Store, start: Start) -> None:
    start(store).stop(9)
    assert start(store).send("/healthz", method="GET").status == 200


def test_a_new_key_works_at_once(running: RunningSite) -> None:
    for _ in range(3):
        assert running.server.pageview(running.store.key()).status == 201


def test_two_concurrent_imports_of_a_log_count_it_once(store: Store, tmp_path: Path) -> None:
    store.site()
    log_path = tmp_path / "access.log"
    log_path.write_bytes(b"".join(LOG_LINE % number for number in range(5000)))
    command = program("import", "access-log", "my-site", str(log_path))
    processes = [Process(command, env={**os.environ, "OVX_DATA_DIR": str(store.path)}) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(store.events()) == 5000
