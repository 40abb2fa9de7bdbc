"""HTTP for the stand-in, which can break connections."""

import socket
import struct
from typing import Any

from ovx_lite.http.protocol import HttpProtocol

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time: what is not sent is thrown away, and the peer is told


class BreakableProtocol(HttpProtocol):
    """The server's own; whoever answers can break the connection, by `scope["extensions"]["ovx.hang_up"]`."""

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        cycle.scope["extensions"] = {"ovx.hang_up": self._hang_up}
        super()._start_asgi_task(cycle, app)

    def _hang_up(self, reset: bool) -> None:
        """Close the connection without an answer; with `reset`, so that the caller reads an error, not an end."""
        if self._active_cycle is not None:
            self._active_cycle.disconnected = True  # uvicorn tells the latest of several that were sent at once
        if self.transport.is_closing():
            return  # the caller was faster
        if reset:
            connection: socket.socket = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()
