"""HTTP/1.1 as bytes: requests in chunks, and the statuses of the responses."""

import json
import re
import socket
import time

from tests.conftest import RunningSite

PATH = "/api/v1/events/custom"


def write_request(key: str, name: str, *headers: str, version: str = "1.1") -> bytes:
    body = json.dumps({"site_id": "my-site", "url": "https://example.com/", "event_name": name}).encode()
    lines = [f"POST {PATH}?x=%20 HTTP/{version}", "Host: x", f"Authorization: Bearer {key}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def talk(running: RunningSite, *chunks: bytes, end: bool = False, pause_s: float = 0.05) -> str:
    """Send chunks, and read until the server closes or is silent for a moment."""
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=10) as client:
        for chunk in chunks:
            client.sendall(chunk)
            time.sleep(pause_s)
        if end:
            client.shutdown(socket.SHUT_WR)
        client.settimeout(0.5)
        received = b""
        try:
            while chunk := client.recv(65536):
                received += chunk
        except (TimeoutError, ConnectionResetError):
            pass
    return received.decode()


def statuses(text: str) -> list[str]:
    return re.findall(r"HTTP/1\.1 (\d{3})", text)
