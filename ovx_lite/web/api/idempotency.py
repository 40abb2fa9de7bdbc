"""Requests that may be sent again (contract 2, Idempotency)."""

from collections.abc import Callable
from hashlib import blake2b

from ovx_lite.domain.errors import Refused
from ovx_lite.domain.models import Reply
from ovx_lite.storage.idempotency import Repeat


def refusing(refused: Refused) -> Callable[[list[str]], Reply]:
    """The answer to a request that may only be a repeat, and is none."""

    def refuse(event_ids: list[str]) -> Reply:
        raise refused

    return refuse


def repeat_of(key: str, path: str, body: bytes, public: bool) -> Repeat | Refused:
    """What makes a request a repeat: its Idempotency-Key, and a digest of the rest; or what is wrong with the key.

    `public` says that the endpoint needs no credentials.
    """
    if not 1 <= len(key) <= 255 or not all("!" <= character <= "~" for character in key):
        return Refused(
            "invalid_request", "Idempotency-Key must be 1 to 255 visible ASCII characters.", "Idempotency-Key"
        )
    fingerprint = blake2b(path.encode() + b"\n" + body, digest_size=16).digest()
    return Repeat(key, fingerprint, "public" if public else "key")
