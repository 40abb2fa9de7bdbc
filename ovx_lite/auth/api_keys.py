"""Authentication of API calls by API key, JWT or IP address: who calls, and which site may they write to? Pure."""

import secrets
from hashlib import blake2b, sha256
from ipaddress import IPv6Address

import msgspec

from ovx_lite.domain.calendar import HOUR_S
from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.models import ApiKey, Registry, Site

MAX_TOKEN_LIFETIME_S = 24 * HOUR_S
TIERS: dict[str, int | None] = {"free": 1000, "pro": 10_000, "enterprise": None}
"""Events per hour and key (Ovyxa, Events API, Rate Limits). `enterprise` has a custom limit or none."""

PUBLIC_HOURLY_LIMIT = 1000
"""Requests without a key per hour and address, unless the site has its own limit (docs/api/README.md, Rate limits)."""


class Principal(msgspec.Struct, frozen=True):
    """The caller of a request: the site that they may write to, and their rate limits.

    `rate_limit_key` identifies the caller in the counts. `hourly_limit` (None: no limit) is in events, or in requests
    if `counts_requests`. `hourly_event_limit` is a second limit in events, for callers whose requests are counted.
    """

    site: Site
    rate_limit_key: str = ""
    hourly_limit: int | None = None
    may_read_stats: bool = True
    counts_requests: bool = False
    hourly_event_limit: int | None = None


def new_key() -> tuple[str, str, bytes]:
    """Create an API key. Returns its public ID, the key (show it once), and the hash to store."""
    key = "ovx_" + secrets.token_urlsafe(30)
    return "key_" + secrets.token_hex(6), key, hash_key(key)


def hash_key(key: str) -> bytes:
    """Return the hash of a key. A plain SHA-256 is safe, because a key has 240 random bits."""
    return sha256(key.encode()).digest()


def hourly_limit(key: ApiKey) -> int | None:
    """Return how many events a key may send per hour; None for no limit."""
    return key.hourly_limit if key.hourly_limit is not None else TIERS[key.tier]


def authenticate(authorization: str, registry: Registry, now_ms: int) -> Principal:
    """Return the caller who sent an `Authorization` header (`Bearer KEY_OR_JWT`).

    Raises `ApiError` (`unauthorized`). The message gives the reason only if that helps no attacker.
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
    """Return the caller at an endpoint without credentials, identified by their IP address (`""` if unknown).

    The key of their counts is a hash of the address under the site's salt of the day.
    """
    address_hash = blake2b(client_network(address).encode(), digest_size=8, key=salt).hexdigest()
    limit = PUBLIC_HOURLY_LIMIT if site.hourly_limit is None else site.hourly_limit
    return Principal(
        site, f"{site.id}:{address_hash}", limit, counts_requests=True, hourly_event_limit=site.hourly_events
    )


def client_network(address: str) -> str:
    """Return the network that belongs to one client: the IPv4 address itself, or the /64 of an IPv6 address."""
    return f"{int(IPv6Address(address)) >> 64:x}" if ":" in address else address


def may_send_from(site: Site, host: str) -> bool:
    """Return whether pages of a host may send events without a key. An allowed host includes its subdomains."""
    host = _to_ascii(host)
    allowed_hosts = map(_to_ascii, site.allowed_hosts)
    return not site.allowed_hosts or any(host == allowed or host.endswith(f".{allowed}") for allowed in allowed_hosts)


def _to_ascii(host: str) -> str:
    """Return a host as browsers send it: bücher.example becomes xn--bcher-kva.example."""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


def _authenticate_jwt(token: str, registry: Registry, now_ms: int) -> Principal:
    """Return the caller of a JWT, which must have the claims `site_id` and `exp` (docs/api/README.md, Credentials)."""
    import jwt  # loaded on first use: it is slow to import, and most servers never see a JWT

    try:
        # The unverified token names the site whose secret verifies it.
        claimed_slug = jwt.decode(token, options={"verify_signature": False}).get("site_id")
        site = registry.sites_by_slug.get(claimed_slug) if isinstance(claimed_slug, str) else None
        if site is None:
            raise _unauthorized(
                "The JWT is not valid: it must contain site_id and be signed with that site's jwt_secret."
            )
        # The times are checked below, because the library cannot use our clock.
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
        raise _unauthorized("The JWT is not valid yet: check its nbf.")
    return Principal(site, may_read_stats=claims.get("stats") is True)


def _unauthorized(message: str) -> ApiError:
    return ApiError("unauthorized", message)
