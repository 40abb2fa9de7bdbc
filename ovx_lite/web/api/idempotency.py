"""Requests that may be sent again (contract 2, Idempotency)."""

from collections.abc import Callable
from hashlib import blake2b

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import Reply
from ovx_lite.storage.idempotency import IdempotencyKey


def reject_with(error: ApiError) -> Callable[[list[str]], Reply]:
    """The answer to a request that may only be a repeat, and is none."""

    def reject(event_ids: list[str]) -> Reply:
        raise error

    return reject


def parse_idempotency_key(header: str, path: str, body: bytes, public: bool) -> IdempotencyKey | ApiError:
    """What makes a request a repeat: its Idempotency-Key, and a digest of the rest; or what is wrong with the key.

    `public` says that the endpoint needs no credentials.
    """
    if not 1 <= len(header) <= 255 or not all("!" <= character <= "~" for character in header):
        return ApiError(
            "invalid_request", "Idempotency-Key must be 1 to 255 visible ASCII characters.", "Idempotency-Key"
        )
    fingerprint = blake2b(path.encode() + b"\n" + body, digest_size=16).digest()
    return IdempotencyKey(header, fingerprint, "public" if public else "key")
