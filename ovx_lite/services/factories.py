"""What a site, a key, a goal and a webhook begin as. Pure but for the random numbers that nobody is to guess.

`id` is given where whoever asks may ask twice (a form that is sent again), and is to get one thing.
"""

import secrets
from collections.abc import Iterator

from ovx_lite.auth import api_keys
from ovx_lite.domain.models import Goal, Key, Site, Webhook
from ovx_lite.webhooks.message import format_for, new_secret


def id_of(prefix: str) -> str:
    """An id that nobody has had yet."""
    return prefix + secrets.token_hex(6)


def site(id: str, timezone: str, now: int) -> Site:
    """A site as it is if nothing more is said of it, added at `now` (Unix ms)."""
    return Site(
        0,
        id,
        name=id,
        domain="",
        timezone=timezone,
        public_key="pk_live_" + secrets.token_hex(12),
        jwt_secret=jwt_secret(),
        monthly_limit=None,
        retention_days=None,
        created=now,
        secret=secrets.token_bytes(32),
    )


def jwt_secret() -> str:
    """What a site's JWTs are signed with."""
    return secrets.token_urlsafe(32)


def key(site: Site, label: str, tier: str, hourly_limit: int | None, now: int, id: str = "") -> tuple[Key, str]:
    """An API key as it is stored, and the key itself, to be shown once."""
    made, secret, digest = api_keys.new_key()
    return Key(id or made, site.number, label, tier, hourly_limit, digest, now, None), secret


def goal(site: Site, name: str, event: str, path: str, now: int, id: str = "") -> Goal:
    """A goal, met by the event of that name, or by pageviews of that path."""
    return Goal(id or id_of("goal_"), site.number, name, event, path, now)


def webhook(
    site: Site, url: str, events: tuple[str, ...], spike_above: int | None, format: str, now: int, id: str = ""
) -> Webhook:
    """A webhook that tells this URL of these events; in the format that its host wants, if none is given."""
    return Webhook(
        0,
        id or id_of("wh_"),
        site.number,
        url,
        events,
        spike_above,
        format or format_for(url),
        secret=webhook_secret(),
        old_secret="",
        rotated=0,
        enabled=True,
        why="",
        failing_since=None,
        exhausted=0,
        created=now,
    )


def visitors() -> Iterator[int]:
    """Numbers of visitors (48 bits) that lead nowhere."""
    while True:
        yield secrets.randbits(48) - (1 << 47)


def webhook_secret() -> str:
    """What a webhook's messages are signed with."""
    return new_secret(secrets.token_bytes(32))
