"""HTTP for the stand-in, which can break connections."""

from ovx_lite.web.protocol import Protocol


class BreakableProtocol(Protocol):
    """The server's own, with the connection in reach of whoever answers."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {"ovx.transport": self.transport}  # type: ignore[dict-item]
