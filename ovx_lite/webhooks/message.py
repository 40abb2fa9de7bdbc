"""A webhook's message: its body, its signatures, and its retries (Ovyxa, Webhooks; docs/webhooks.md). Pure."""

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ovx_lite import __version__
from ovx_lite.domain.calendar import DAY_MS, HOUR_MS, MINUTE_MS, format_utc
from ovx_lite.domain.errors import ApiError
from ovx_lite.webhooks.triggers import Alert

MAX_WEBHOOKS_PER_SITE = 5
"""Webhooks of one site (Ovyxa, Webhooks, Limits)."""

MAX_SENDS_PER_HOUR = 100
"""Deliveries to one webhook per hour, not counting retries (Ovyxa, Webhooks, Limits). More are `throttled`."""

MAX_BODY_BYTES = 10_000
"""A body has fewer bytes: "Payload size: < 10KB" (Ovyxa, Webhooks, Limits)."""

RETRY_DELAYS_MS = (1 * MINUTE_MS, 5 * MINUTE_MS, 30 * MINUTE_MS)
"""Time from a failed attempt to the next one (Ovyxa, Webhooks, Retry Logic)."""

MAX_RETRY_AFTER_MS = HOUR_MS
"""The longest delay that a receiver can ask for with `Retry-After`."""

PREVIOUS_SECRET_VALID_MS = DAY_MS
"""How long after a rotation the previous secret signs too."""

FORMATS = ("json", "slack", "discord")

_encode = msgspec.json.Encoder().encode


class AttemptResult(NamedTuple):
    """The result of an attempt to deliver a message.

    `status` is the HTTP status, or None without a response. `error` is a short code such as `timeout`, or `""` after
    success, and `hint` says what to do. `response_body` is the start of the response, `retry_after_ms` the delay that
    its `Retry-After` asks for. `headers` are those of the request.
    """

    status: int | None
    error: str
    hint: str = ""
    response_body: str = ""
    retry_after_ms: int = 0
    started_at_ms: int = 0
    duration_ms: int = 0
    headers: Mapping[str, str] = {}


class RetryDecision(NamedTuple):
    """What follows an attempt: the delivery's status and next attempt. `gone` disables the webhook."""

    status: str
    next_attempt_at_ms: int
    gone: bool = False


def new_secret(random_bytes: bytes) -> str:
    """Return a signing secret from 32 random bytes, in the notation of Standard Webhooks."""
    return "whsec_" + b64encode(random_bytes).decode()


def format_for(url: str) -> str:
    """Return the format for a URL, by its host: Slack and Discord reject a body without a field of their own."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "hooks.slack.com":
        return "slack"
    return "discord" if f".{host}".endswith((".discord.com", ".discordapp.com")) else "json"


def build_body(alert: Alert, site_slug: str, format: str) -> bytes:
    """Return the body: compact JSON under 10 KB, with long strings cut (Ovyxa, Webhooks, Payload Format)."""
    timestamp = format_utc(alert.timestamp_ms)
    for max_length in (2000, 400, 80):
        data = {name: _cut(value, max_length) for name, value in alert.data.items()}
        message = {"event": alert.event, "timestamp": timestamp, "site_id": site_slug, "data": data}
        encoded = _encode(message | _FORMAT_FIELDS[format](_cut(alert.text, max_length)))
        if len(encoded) < MAX_BODY_BYTES:
            return encoded
    raise ValueError(f"the data of {alert.event} has too many fields for a message")


def _cut(value: Any, max_length: int) -> Any:
    return value[: max_length - 1] + "…" if isinstance(value, str) and len(value) > max_length else value


def _slack(text: str) -> dict[str, Any]:
    # With these three characters escaped, no text can become a link or mention people or channels in Slack.
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": escaped, "mrkdwn": False, "link_names": False, "unfurl_links": False, "unfurl_media": False}


def _discord(text: str) -> dict[str, Any]:
    escaped = re.sub(r"([\\`*_~|<>\[\]()#@:-])", r"\\\1", text)
    return {
        "content": escaped[:1900],
        "allowed_mentions": {"parse": []},
        "flags": 1 << 2,
    }  # the flag turns off link previews


_FORMAT_FIELDS = {"json": lambda text: {}, "slack": _slack, "discord": _discord}


def build_headers(message_id: str, event: str, body: bytes, secrets: Sequence[str], now_ms: int) -> dict[str, str]:
    """Return the headers of an attempt at `now_ms`, with Ovyxa's signature and those of Standard Webhooks.

    `secrets` are the current secret and, for a day after a rotation, the previous one.
    """
    timestamp = str(now_ms // 1000)
    return {
        "Content-Type": "application/json",
        "User-Agent": f"ovx-lite/{__version__}",
        "X-Ovyxa-Event": event,
        "X-Ovyxa-Signature": ovyxa_signature(secrets[0], body),
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(standard_signature(secret, message_id, timestamp, body) for secret in secrets),
    }


def signing_secrets(now_ms: int, secret: str, previous_secret: str, rotated_at_ms: int) -> tuple[str, ...]:
    """Return the secrets that sign at `now_ms`: the current one and, for a day after a rotation, the previous one."""
    return (
        (secret, previous_secret)
        if previous_secret and now_ms < rotated_at_ms + PREVIOUS_SECRET_VALID_MS
        else (secret,)
    )


def ovyxa_signature(secret: str, body: bytes) -> str:
    """Return `X-Ovyxa-Signature` (Ovyxa, Webhooks, Security): the HMAC-SHA256 of the body in hex.

    The key is the secret as text, with its prefix.
    """
    return hmac.new(secret.encode(), body, sha256).hexdigest()


def standard_signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Return a signature of Standard Webhooks: `v1,` and the HMAC-SHA256 of ID, timestamp and body in base64."""
    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ApiError(
            "invalid_request", "The secret must be whsec_ followed by base64, exactly as it was shown."
        ) from None
    return "v1," + b64encode(hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, sha256).digest()).decode()


def next_step(outcome: AttemptResult, attempts: int, now_ms: int) -> RetryDecision:
    """Return what follows attempt number `attempts`, which ended at `now_ms` (Ovyxa, Webhooks, Retry Logic)."""
    if not outcome.error:
        return RetryDecision("delivered", now_ms)
    if outcome.status == 410:
        return RetryDecision("failed", now_ms, gone=True)
    if attempts > len(RETRY_DELAYS_MS):
        return RetryDecision("failed", now_ms)
    return RetryDecision(
        "pending", now_ms + max(RETRY_DELAYS_MS[attempts - 1], min(outcome.retry_after_ms, MAX_RETRY_AFTER_MS))
    )


def parse_saved_request(request: bytes) -> tuple[dict[str, str], bytes]:
    """Split a saved request into its headers, with names in lower case, and its body.

    It is an optional request line, headers, an empty line, and the body. Raises `ApiError` without the empty line.
    """
    end = re.search(rb"\r?\n\r?\n", request)
    if end is None:
        raise ApiError(
            "invalid_request", "There is no empty line after the headers: save the request exactly as it was received."
        )
    head, body = request[: end.start()], request[end.end() :]
    lines = (line.partition(b":") for line in head.splitlines())
    return {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, _, value in lines}, body


def verify_signatures(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> dict[str, bool | None]:
    """Return for each signature header of a request whether it is valid; None if the header is missing."""
    ovyxa, standard = headers.get("x-ovyxa-signature"), headers.get("webhook-signature")
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    expected = [standard_signature(secret, message_id, timestamp, body) for secret in secrets]
    return {
        "X-Ovyxa-Signature": None
        if ovyxa is None
        else _any_equal([ovyxa], [ovyxa_signature(secret, body) for secret in secrets]),
        "webhook-signature": None if standard is None else _any_equal(standard.split(), expected),
    }


def _any_equal(received: Sequence[str], expected: Sequence[str]) -> bool:
    return any(
        hmac.compare_digest(signature.encode(), candidate.encode()) for signature in received for candidate in expected
    )
