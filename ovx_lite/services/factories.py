"""Create sites, API keys, goals and webhooks with their initial values. No I/O, except for random numbers.

Pass a `public_id` if the same request may arrive twice (a form that is sent again), so that it creates one thing only.
"""

import secrets
from collections.abc import Iterator

from ovx_lite.auth import api_keys
from ovx_lite.domain.models import ApiKey, Goal, Site, Webhook
from ovx_lite.webhooks.message import format_for, new_secret


def new_public_id(prefix: str) -> str:
    """Return a new random public ID, such as `goal_1f0c…`. `prefix` includes the underscore."""
    return prefix + secrets.token_hex(6)


def site(slug: str, timezone: str, now_ms: int) -> Site:
    """Return a site with default values. Its `id` is 0 until it is stored."""
    return Site(
        id=0,
        slug=slug,
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
    """Return a new secret for signing a site's JWTs."""
    return secrets.token_urlsafe(32)


def key(
    site: Site, label: str, tier: str, hourly_limit: int | None, now_ms: int, public_id: str = ""
) -> tuple[ApiKey, str]:
    """Return an API key as it is stored, and the secret key itself, to be shown once.

    `hourly_limit` is in events; `None` means the tier's limit.
    """
    generated_id, secret, key_hash = api_keys.new_key()
    api_key = ApiKey(
        public_id=public_id or generated_id,
        site_id=site.id,
        label=label,
        tier=tier,
        hourly_limit=hourly_limit,
        key_hash=key_hash,
        created_at_ms=now_ms,
        revoked_at_ms=None,
    )
    return api_key, secret


def goal(site: Site, name: str, event_name: str, path_pattern: str, now_ms: int, public_id: str = "") -> Goal:
    """Return a goal that is reached by events of a name or by pageviews of a path; the other of the two is `""`."""
    return Goal(
        public_id=public_id or new_public_id("goal_"),
        site_id=site.id,
        name=name,
        event_name=event_name,
        path_pattern=path_pattern,
        created_at_ms=now_ms,
    )


def webhook(
    site: Site,
    url: str,
    events: tuple[str, ...],
    spike_threshold: int | None,
    format: str,
    now_ms: int,
    public_id: str = "",
) -> Webhook:
    """Return a webhook that sends these trigger events to a URL.

    `format` is `json`, `slack` or `discord`, or `""` to detect it from the URL. Its `id` is 0 until it is stored.
    """
    return Webhook(
        id=0,
        public_id=public_id or new_public_id("wh_"),
        site_id=site.id,
        url=url,
        events=events,
        spike_threshold=spike_threshold,
        format=format or format_for(url),
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
    """Yield random visitor IDs (48 bits, signed) that lead to nobody, to replace those of erased persons."""
    while True:
        yield secrets.randbits(48) - (1 << 47)


def new_webhook_secret() -> str:
    """Return a new secret for signing a webhook's messages."""
    return new_secret(secrets.token_bytes(32))
