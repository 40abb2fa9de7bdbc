"""What a site, a key, a goal and a webhook begin as. Pure but for the random numbers that nobody is to guess.

`id` is given where whoever asks may ask twice (a form that is sent again), and is to get one thing.
"""

import secrets
from collections.abc import Iterator

from ovx_lite.auth import api_keys
from ovx_lite.domain.models import ApiKey, Goal, Site, Webhook
from ovx_lite.webhooks.message import format_for, new_secret


def new_public_id(prefix: str) -> str:
    """An id that nobody has had yet."""
    return prefix + secrets.token_hex(6)


def site(slug: str, timezone: str, now_ms: int) -> Site:
    """A site as it is if nothing more is said of it, added at `now` (Unix ms)."""
    return Site(
        0,
        slug,
        name=slug,
        domain="",
        timezone=timezone,
        public_key="pk_live_" + secrets.token_hex(12),
        jwt_secret=new_jwt_secret(),
        monthly_limit=None,
        retention_days=None,
        created_at_ms=now_ms,
        secret=secrets.token_bytes(32),
    )


def new_jwt_secret() -> str:
    """What a site's JWTs are signed with."""
    return secrets.token_urlsafe(32)


def key(
    site: Site, label: str, tier: str, hourly_limit: int | None, now_ms: int, public_id: str = ""
) -> tuple[ApiKey, str]:
    """An API key as it is stored, and the key itself, to be shown once."""
    generated_id, secret, digest = api_keys.new_key()
    return ApiKey(public_id or generated_id, site.id, label, tier, hourly_limit, digest, now_ms, None), secret


def goal(site: Site, name: str, event_name: str, path_pattern: str, now_ms: int, public_id: str = "") -> Goal:
    """A goal, met by the event of that name, or by pageviews of that path."""
    return Goal(public_id or new_public_id("goal_"), site.id, name, event_name, path_pattern, now_ms)


def webhook(
    site: Site,
    url: str,
    events: tuple[str, ...],
    spike_threshold: int | None,
    format: str,
    now_ms: int,
    public_id: str = "",
) -> Webhook:
    """A webhook that tells this URL of these events; in the format that its host wants, if none is given."""
    return Webhook(
        0,
        public_id or new_public_id("wh_"),
        site.id,
        url,
        events,
        spike_threshold,
        format or format_for(url),
        secret=new_webhook_secret(),
        previous_secret="",
        rotated_at_ms=0,
        enabled=True,
        disabled_reason="",
        failing_since_ms=None,
        failed_deliveries=0,
        created_at_ms=now_ms,
    )


def random_visitor_ids() -> Iterator[int]:
    """Numbers of visitors (48 bits) that lead nowhere."""
    while True:
        yield secrets.randbits(48) - (1 << 47)


def new_webhook_secret() -> str:
    """What a webhook's messages are signed with."""
    return new_secret(secrets.token_bytes(32))
