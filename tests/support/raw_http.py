"""HTTP/1.1 as bytes: requests in pieces, and the statuses of what comes back."""

import json
import re
import socket
import time

from tests.conftest import Running

PATH = "/api/v1/events/custom"


def request(key: str, name: str, *headers: str, version: str = "1.1") -> bytes:
    body = json.dumps({"site_id": "my-site", "url": "https://example.com/", "event_name": name}).encode()
    lines = [f"POST {PATH}?x=%20 HTTP/{version}", "Host: x", f"Authorization: Bearer {key}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def talk(running: Running, *pieces: bytes, end: bool = False, pause: float = 0.05) -> str:
    """Send pieces, and read until the server closes, or is silent for a moment."""
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=10) as client:
        for piece in pieces:
            client.sendall(piece)
            time.sleep(pause)
        if end:
            client.shutdown(socket.SHUT_WR)
        client.settimeout(0.5)
        told = b""
        try:
            while piece := client.recv(65536):
                told += piece
        except (TimeoutError, ConnectionResetError):
            pass
    return told.decode()


def statuses(told: str) -> list[str]:
    return re.findall(r"HTTP/1\.1 (\d{3})", told)
