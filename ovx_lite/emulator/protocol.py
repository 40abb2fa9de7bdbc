"""The emulator's HTTP protocol, which can break connections."""

import socket
import struct
from typing import Any

from ovx_lite.http.protocol import HttpProtocol

_LINGER_ZERO = struct.pack("ii", 1, 0)  # SO_LINGER with 0 seconds: closing sends a reset and discards unsent data


class BreakableProtocol(HttpProtocol):
    """The server's protocol; `scope["extensions"]["ovx.hang_up"]` breaks the connection."""

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        cycle.scope["extensions"] = {"ovx.hang_up": self._hang_up}
        super()._start_asgi_task(cycle, app)

    def _hang_up(self, reset: bool) -> None:
        """Close the connection without a response; with `reset`, the caller gets an error instead of an end of file."""
        if self._active_cycle is not None:
            self._active_cycle.disconnected = True  # uvicorn only marks the latest of several pipelined requests
        if self.transport.is_closing():
            return  # the caller has closed it already
        if reset:
            connection: socket.socket = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.transport.abort()
