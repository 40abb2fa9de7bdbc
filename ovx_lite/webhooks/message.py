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
from ovx_lite.domain.calendar import utc
from ovx_lite.domain.errors import Refused
from ovx_lite.webhooks.triggers import Alert

MOST_OF_A_SITE = 5
"""Webhooks of one site ("Limits")."""

MOST_IN_AN_HOUR = 100
"""First sends to one webhook in an hour ("Limits"); what is above is `throttled`."""

LARGEST = 10_000
"""Bytes of a body, "< 10KB" ("Limits")."""

RETRIES = (60_000, 5 * 60_000, 30 * 60_000)
"""Milliseconds from a failure to the next try ("Retry Logic")."""

LONGEST_HINT = 60 * 60_000
"""Milliseconds that a `Retry-After` can put off the next try."""

ROTATION = 24 * 60 * 60_000
"""Milliseconds that the secret before the current one signs, too."""

FORMATS = ("json", "slack", "discord")

_encode = msgspec.json.Encoder().encode


class Outcome(NamedTuple):
    """What came of a try: `status` is HTTP's, None without an answer; `error` a word for what went wrong, or `""`.

    `words` say what to do about it. `answer` is the beginning of what was answered, `hint` the milliseconds of its
    `Retry-After`; `began` is in Unix milliseconds, `took` in milliseconds; `headers` are those of the request.
    """

    status: int | None
    error: str
    words: str = ""
    answer: str = ""
    hint: int = 0
    began: int = 0
    took: int = 0
    headers: Mapping[str, str] = {}


class Next(NamedTuple):
    """What follows a try: the delivery's status, when it is due again (Unix ms), whether the webhook is given up."""

    status: str
    due: int
    gone: bool = False


def new_secret(random: bytes) -> str:
    """A signing secret of 32 random bytes, as Standard Webhooks writes it."""
    return "whsec_" + b64encode(random).decode()


def format_for(url: str) -> str:
    """The format that a receiver wants, by its host: Slack and Discord refuse a body without their own field."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "hooks.slack.com":
        return "slack"
    return "discord" if f".{host}".endswith((".discord.com", ".discordapp.com")) else "json"


def body(alert: Alert, site: str, format: str) -> bytes:
    """The message's bytes: compact JSON under 10 KB, with long strings cut ("Payload Format")."""
    stamp = utc(alert.ts)
    for longest in (2000, 400, 80):
        data = {name: _cut(value, longest) for name, value in alert.data.items()}
        message = {"event": alert.event, "timestamp": stamp, "site_id": site, "data": data}
        made = _encode(message | _SHAPES[format](_cut(alert.text, longest)))
        if len(made) < LARGEST:
            return made
    raise ValueError(f"the data of {alert.event} has too many fields for a message")


def _cut(value: Any, longest: int) -> Any:
    return value[: longest - 1] + "…" if isinstance(value, str) and len(value) > longest else value


def _slack(text: str) -> dict[str, Any]:
    # Slack makes links, mentions of people and of whole channels from <…> alone, once these three are written so.
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": escaped, "mrkdwn": False, "link_names": False, "unfurl_links": False, "unfurl_media": False}


def _discord(text: str) -> dict[str, Any]:
    escaped = re.sub(r"([\\`*_~|<>\[\]()#@:-])", r"\\\1", text)
    return {"content": escaped[:1900], "allowed_mentions": {"parse": []}, "flags": 1 << 2}  # no previews of links


_SHAPES = {"json": lambda text: {}, "slack": _slack, "discord": _discord}


def headers(id: str, event: str, body: bytes, secrets: Sequence[str], now: int) -> dict[str, str]:
    """The headers of a try at `now` (Unix ms), with both signatures: Ovyxa's, and those of Standard Webhooks.

    `secrets` are the current one and, for a day after a rotation, the one before it.
    """
    seconds = str(now // 1000)
    return {
        "Content-Type": "application/json",
        "User-Agent": f"ovx-lite/{__version__}",
        "X-Ovyxa-Event": event,
        "X-Ovyxa-Signature": ovyxa_signature(secrets[0], body),
        "webhook-id": id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(standard_signature(secret, id, seconds, body) for secret in secrets),
    }


def secrets_at(now: int, secret: str, old: str, rotated: int) -> tuple[str, ...]:
    """The secrets that sign at `now` (Unix ms): the one before the current one, too, for a day after it gave way."""
    return (secret, old) if old and now < rotated + ROTATION else (secret,)


def ovyxa_signature(secret: str, body: bytes) -> str:
    """`X-Ovyxa-Signature`: hexadecimal HMAC-SHA256 of the body under the secret's text ("Security")."""
    return hmac.new(secret.encode(), body, sha256).hexdigest()


def standard_signature(secret: str, id: str, seconds: str, body: bytes) -> str:
    """One signature of Standard Webhooks: `v1,` and the base64 of HMAC-SHA256 of id, timestamp and body."""
    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise Refused("invalid_request", "A secret is whsec_ and base64, as it was shown.") from None
    return "v1," + b64encode(hmac.new(key, f"{id}.{seconds}.".encode() + body, sha256).digest()).decode()


def after(outcome: Outcome, tries: int, now: int) -> Next:
    """What follows the try that made it so many `tries`, and ended at `now` ("Retry Logic", contract 7)."""
    if not outcome.error:
        return Next("delivered", now)
    if outcome.status == 410:
        return Next("failed", now, gone=True)
    if tries > len(RETRIES):
        return Next("failed", now)
    return Next("pending", now + max(RETRIES[tries - 1], min(outcome.hint, LONGEST_HINT)))


def read_saved(request: bytes) -> tuple[dict[str, str], bytes]:
    """A saved request (a request line or none, headers, an empty line, the body) → its headers in lower case, and body.

    Raises `Refused` if there is no empty line.
    """
    end = re.search(rb"\r?\n\r?\n", request)
    if end is None:
        raise Refused("invalid_request", "There is no empty line after the headers: save the request as it came.")
    head, body = request[: end.start()], request[end.end() :]
    lines = (line.partition(b":") for line in head.splitlines())
    return {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, _, value in lines}, body


def verified(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> dict[str, bool | None]:
    """Whether a request's two signatures are right, by their headers' names; None for one that is not there."""
    ovyxa, standard = headers.get("x-ovyxa-signature"), headers.get("webhook-signature")
    id, seconds = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    made = [standard_signature(secret, id, seconds, body) for secret in secrets]
    return {
        "X-Ovyxa-Signature": None if ovyxa is None else _any_same([ovyxa], [ovyxa_signature(s, body) for s in secrets]),
        "webhook-signature": None if standard is None else _any_same(standard.split(), made),
    }


def _any_same(told: Sequence[str], made: Sequence[str]) -> bool:
    return any(hmac.compare_digest(one.encode(), other.encode()) for one in told for other in made)
