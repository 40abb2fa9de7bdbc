"""Who calls, and which site may they write to? Keys, JWTs, addresses. No I/O: what is known comes in."""

import secrets
from hashlib import blake2b, sha256
from ipaddress import IPv6Address

import msgspec

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import ApiKey, Registry, Site

HOUR_S = 3600
MAX_TOKEN_LIFETIME_S = 24 * HOUR_S
TIERS: dict[str, int | None] = {"free": 1000, "pro": 10_000, "enterprise": None}
"""Events an hour and key ("Rate Limits"); enterprise has its own number or none."""

PUBLIC_HOURLY_LIMIT = 1000
"""Requests an hour and address where no key is asked for, unless the site says otherwise (contract 2)."""


class Principal(msgspec.Struct, frozen=True):
    """Who calls: the site that they may write to, and, if they are limited, the name that limits count them under.

    `limit` is in events an hour, or in requests if `counts_requests`. `event_limit` is a second limit then, in events.
    """

    site: Site
    rate_limit_key: str = ""
    hourly_limit: int | None = None
    may_read_stats: bool = True  # whether they may also call the Stats API
    counts_requests: bool = False
    hourly_event_limit: int | None = None


def new_key() -> tuple[str, str, bytes]:
    """A new API key: its id, the key itself (to be shown once), and the digest to store."""
    key = "ovx_" + secrets.token_urlsafe(30)
    return "key_" + secrets.token_hex(6), key, hash_key(key)


def hash_key(key: str) -> bytes:
    """What is stored of a key. A key is 240 random bits, so a plain SHA-256 cannot be guessed back."""
    return sha256(key.encode()).digest()


def hourly_limit(key: ApiKey) -> int | None:
    """Events that a key may send in an hour; None for no limit."""
    return key.hourly_limit if key.hourly_limit is not None else TIERS[key.tier]


def authenticate(authorization: str, registry: Registry, now_ms: int) -> Principal:
    """Who sent this `Authorization` header (`Bearer KEY_OR_JWT`)? Raises `ApiError` (`unauthorized`).

    `now` is Unix milliseconds. Why a credential fails is told only where that gives nothing away.
    """
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized("No API key or JWT: send the header Authorization: Bearer YOUR_API_KEY.")
    if token.count(".") == 2:
        return _authenticate_jwt(token, registry, now_ms)
    key = registry.api_keys_by_hash.get(hash_key(token))
    if key is None or key.revoked_at_ms is not None:
        raise _unauthorized("The API key is unknown or revoked: create one with ovx-lite key add.")
    return Principal(registry.sites_by_id[key.site_id], key.public_id, hourly_limit(key))


def public_principal(site: Site, address: str, salt: bytes) -> Principal:
    """Whoever calls from an address (`""` if it is not known) where no key is asked for.

    The name is a hash under the site's salt of the day.
    """
    address_hash = blake2b(client_network(address).encode(), digest_size=8, key=salt).hexdigest()
    limit = PUBLIC_HOURLY_LIMIT if site.hourly_limit is None else site.hourly_limit
    return Principal(
        site, f"{site.id}:{address_hash}", limit, counts_requests=True, hourly_event_limit=site.hourly_events
    )


def client_network(address: str) -> str:
    """What one client has whole: an IPv4 address, or an IPv6 network (/64)."""
    return f"{int(IPv6Address(address)) >> 64:x}" if ":" in address else address


def may_send_from(site: Site, host: str) -> bool:
    """Whether pages of a host may send events to a site without a key. A host stands for its subdomains, too."""
    host = _to_ascii(host)
    own_hosts = map(_to_ascii, site.allowed_hosts)
    return not site.allowed_hosts or any(host == own or host.endswith(f".{own}") for own in own_hosts)


def _to_ascii(host: str) -> str:
    """A host as browsers send it: bücher.example is xn--bcher-kva.example."""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


def _authenticate_jwt(token: str, registry: Registry, now_ms: int) -> Principal:
    """A JWT is HS256, signed with the site's secret, with `site_id`, `exp` within 24 h, and `stats` if it may read."""
    import jwt  # not at the start: it takes a while to load, and most servers never see one

    try:
        # Whose secret to check with is in the token, so it is read before it is believed.
        claimed_slug = jwt.decode(token, options={"verify_signature": False}).get("site_id")
        site = registry.sites_by_slug.get(claimed_slug) if isinstance(claimed_slug, str) else None
        if site is None:
            raise _unauthorized(
                "The JWT is not valid: it must carry site_id and be signed with that site's jwt_secret."
            )
        # The times are checked here, by the program's own clock.
        claims = jwt.decode(
            token,
            site.jwt_secret,
            ["HS256"],
            {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
        )
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _unauthorized("The JWT is not valid: it must be HS256, signed with the site's jwt_secret.") from None
    expires_at_s, not_before_s, now_s = claims.get("exp"), claims.get("nbf", 0), now_ms / 1000
    if isinstance(expires_at_s, bool) or not isinstance(expires_at_s, int | float):
        raise _unauthorized("The JWT has no exp: add one, at most 24 hours ahead.")
    if not now_s < expires_at_s <= now_s + MAX_TOKEN_LIFETIME_S:
        raise _unauthorized("The JWT has expired, or its exp is more than 24 hours ahead: issue a new one.")
    if isinstance(not_before_s, bool) or not isinstance(not_before_s, int | float) or not_before_s > now_s:
        raise _unauthorized("The JWT is not valid yet: see its nbf.")
    return Principal(site, may_read_stats=claims.get("stats") is True)


def _unauthorized(message: str) -> ApiError:
    return ApiError("unauthorized", message)
