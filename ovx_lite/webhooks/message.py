"""A webhook's message: its bytes, its signatures, its schedule (Ovyxa Webhooks; contract 7). Pure."""

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ovx_lite import __version__
from ovx_lite.domain.calendar import format_utc
from ovx_lite.domain.errors import ApiError
from ovx_lite.webhooks.triggers import Alert

MAX_WEBHOOKS_PER_SITE = 5
"""Webhooks of one site ("Limits")."""

MAX_SENDS_PER_HOUR = 100
"""First sends to one webhook in an hour ("Limits"); what is above is `throttled`."""

MAX_BODY_BYTES = 10_000
"""Bytes of a body, "< 10KB" ("Limits")."""

RETRY_DELAYS_MS = (60_000, 5 * 60_000, 30 * 60_000)
"""Milliseconds from a failure to the next try ("Retry Logic")."""

MAX_RETRY_AFTER_MS = 60 * 60_000
"""Milliseconds that a `Retry-After` can put off the next try."""

PREVIOUS_SECRET_VALID_MS = 24 * 60 * 60_000
"""Milliseconds that the secret before the current one signs, too."""

FORMATS = ("json", "slack", "discord")

_encode = msgspec.json.Encoder().encode


class AttemptResult(NamedTuple):
    """What came of a try: `status` is HTTP's, None without an answer; `error` a word for what went wrong, or `""`.

    `words` say what to do about it. `answer` is the beginning of what was answered, `hint` the milliseconds of its
    `Retry-After`; `began` is in Unix milliseconds, `took` in milliseconds; `headers` are those of the request.
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
    """What follows a try: the delivery's status, when it is due again (Unix ms), whether the webhook is given up."""

    status: str
    next_attempt_at_ms: int
    gone: bool = False


def new_secret(random_bytes: bytes) -> str:
    """A signing secret of 32 random bytes, as Standard Webhooks writes it."""
    return "whsec_" + b64encode(random_bytes).decode()


def format_for(url: str) -> str:
    """The format that a receiver wants, by its host: Slack and Discord refuse a body without their own field."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "hooks.slack.com":
        return "slack"
    return "discord" if f".{host}".endswith((".discord.com", ".discordapp.com")) else "json"


def build_body(alert: Alert, site_slug: str, format: str) -> bytes:
    """The message's bytes: compact JSON under 10 KB, with long strings cut ("Payload Format")."""
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
    # Slack makes links, mentions of people and of whole channels from <…> alone, once these three are written so.
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": escaped, "mrkdwn": False, "link_names": False, "unfurl_links": False, "unfurl_media": False}


def _discord(text: str) -> dict[str, Any]:
    escaped = re.sub(r"([\\`*_~|<>\[\]()#@:-])", r"\\\1", text)
    return {"content": escaped[:1900], "allowed_mentions": {"parse": []}, "flags": 1 << 2}  # no previews of links


_FORMAT_FIELDS = {"json": lambda text: {}, "slack": _slack, "discord": _discord}


def build_headers(message_id: str, event: str, body: bytes, secrets: Sequence[str], now_ms: int) -> dict[str, str]:
    """The headers of a try at `now` (Unix ms), with both signatures: Ovyxa's, and those of Standard Webhooks.

    `secrets` are the current one and, for a day after a rotation, the one before it.
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
    """The secrets that sign at `now` (Unix ms): the one before the current one, too, for a day after it gave way."""
    return (
        (secret, previous_secret)
        if previous_secret and now_ms < rotated_at_ms + PREVIOUS_SECRET_VALID_MS
        else (secret,)
    )


def ovyxa_signature(secret: str, body: bytes) -> str:
    """`X-Ovyxa-Signature`: hexadecimal HMAC-SHA256 of the body under the secret's text ("Security")."""
    return hmac.new(secret.encode(), body, sha256).hexdigest()


def standard_signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """One signature of Standard Webhooks: `v1,` and the base64 of HMAC-SHA256 of id, timestamp and body."""
    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ApiError("invalid_request", "A secret is whsec_ and base64, as it was shown.") from None
    return "v1," + b64encode(hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, sha256).digest()).decode()


def next_step(outcome: AttemptResult, attempts: int, now_ms: int) -> RetryDecision:
    """What follows the try that made it so many `tries`, and ended at `now` ("Retry Logic", contract 7)."""
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
    """A saved request (a request line or none, headers, an empty line, the body) → its headers in lower case, and body.

    Raises `ApiError` if there is no empty line.
    """
    end = re.search(rb"\r?\n\r?\n", request)
    if end is None:
        raise ApiError("invalid_request", "There is no empty line after the headers: save the request as it came.")
    head, body = request[: end.start()], request[end.end() :]
    lines = (line.partition(b":") for line in head.splitlines())
    return {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, _, value in lines}, body


def verify_signatures(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> dict[str, bool | None]:
    """Whether a request's two signatures are right, by their headers' names; None for one that is not there."""
    ovyxa, standard = headers.get("x-ovyxa-signature"), headers.get("webhook-signature")
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    expected = [standard_signature(secret, message_id, timestamp, body) for secret in secrets]
    return {
        "X-Ovyxa-Signature": None
        if ovyxa is None
        else _any_equal([ovyxa], [ovyxa_signature(s, body) for s in secrets]),
        "webhook-signature": None if standard is None else _any_equal(standard.split(), expected),
    }


def _any_equal(received: Sequence[str], expected: Sequence[str]) -> bool:
    return any(
        hmac.compare_digest(signature.encode(), candidate.encode()) for signature in received for candidate in expected
    )
