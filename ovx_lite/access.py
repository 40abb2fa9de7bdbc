"""May this call write to that site, now? Keys, JWTs, rate limits. No I/O: what is known comes in, counts go out."""

import secrets
from hashlib import blake2b, sha256
from ipaddress import IPv6Address

import msgspec

from ovx_lite.errors import Refused
from ovx_lite.model import Key, Registry, Site

HOUR = 3600
LONGEST_TOKEN_LIFE = 24 * HOUR
TIERS: dict[str, int | None] = {"free": 1000, "pro": 10_000, "enterprise": None}
"""Events an hour and key ("Rate Limits"); enterprise has its own number or none."""

PUBLIC_LIMIT = 1000
"""Requests an hour and address where no key is asked for, unless the site says otherwise (contract 2)."""


class Caller(msgspec.Struct, frozen=True):
    """Who calls: the site that they may write to, and, if they are limited, as whom and to how many events an hour."""

    site: Site
    name: str = ""
    limit: int | None = None
    may_read_stats: bool = True  # whether they may also call the Stats API


def new_key() -> tuple[str, str, bytes]:
    """A new API key: its id, the key itself (to be shown once), and the digest to store."""
    key = "ovx_" + secrets.token_urlsafe(30)
    return "key_" + secrets.token_hex(6), key, digest(key)


def digest(key: str) -> bytes:
    """What is stored of a key. A key is 240 random bits, so a plain SHA-256 cannot be guessed back."""
    return sha256(key.encode()).digest()


def hourly_limit(key: Key) -> int | None:
    """Events that a key may send in an hour; None for no limit."""
    return key.hourly_limit if key.hourly_limit is not None else TIERS[key.tier]


def identify(authorization: str, registry: Registry, now: int) -> Caller:
    """Who sent this `Authorization` header (`Bearer KEY_OR_JWT`)? Raises `Refused` (`unauthorized`).

    `now` is Unix milliseconds. Why a credential fails is told only where that gives nothing away.
    """
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized("No API key or JWT: send the header Authorization: Bearer YOUR_API_KEY.")
    if token.count(".") == 2:
        return _identify_jwt(token, registry, now)
    key = registry.keys.get(digest(token))
    if key is None or key.revoked is not None:
        raise _unauthorized("The API key is unknown or revoked: create one with ovx-lite key add.")
    return Caller(registry.numbers[key.site], key.id, hourly_limit(key))


def at_address(site: Site, address: str, salt: bytes) -> Caller:
    """Whoever calls from an address (`""` if it is not known) where no key is asked for.

    The name is a hash under the site's salt of the day.
    """
    name = blake2b(network(address).encode(), digest_size=8, key=salt).hexdigest()
    return Caller(site, f"{site.number}:{name}", PUBLIC_LIMIT if site.hourly_limit is None else site.hourly_limit)


def network(address: str) -> str:
    """What one client has whole: an IPv4 address, or an IPv6 network (/64)."""
    return f"{int(IPv6Address(address)) >> 64:x}" if ":" in address else address


def may_send_from(site: Site, host: str) -> bool:
    """Whether pages of a host may send events to a site without a key. A host stands for its subdomains, too."""
    host = _spelled_in_ascii(host)
    own_hosts = map(_spelled_in_ascii, site.allowed_hosts)
    return not site.allowed_hosts or any(host == own or host.endswith(f".{own}") for own in own_hosts)


def _spelled_in_ascii(host: str) -> str:
    """A host as browsers send it: bücher.example is xn--bcher-kva.example."""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


def _identify_jwt(token: str, registry: Registry, now: int) -> Caller:
    """A JWT is HS256, signed with the site's secret, with `site_id`, `exp` within 24 h, and `stats` if it may read."""
    import jwt  # not at the start: it takes a while to load, and most servers never see one

    try:
        # Whose secret to check with is in the token, so it is read before it is believed.
        claimed = jwt.decode(token, options={"verify_signature": False}).get("site_id")
        site = registry.sites.get(claimed) if isinstance(claimed, str) else None
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
    expires, begins, seconds = claims.get("exp"), claims.get("nbf", 0), now / 1000
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        raise _unauthorized("The JWT has no exp: add one, at most 24 hours ahead.")
    if not seconds < expires <= seconds + LONGEST_TOKEN_LIFE:
        raise _unauthorized("The JWT has expired, or its exp is more than 24 hours ahead: issue a new one.")
    if isinstance(begins, bool) or not isinstance(begins, int | float) or begins > seconds:
        raise _unauthorized("The JWT is not valid yet: see its nbf.")
    return Caller(site, may_read_stats=claims.get("stats") is True)


def _unauthorized(message: str) -> Refused:
    return Refused("unauthorized", message)


class Allowance(msgspec.Struct, frozen=True):
    """Where a caller stands: how many an hour, how many are left, and in how many seconds the next become free."""

    limit: int
    remaining: int
    reset: int


class Limits:
    """Counts of events per caller in a sliding hour, by the second.

    The counts live here; `unsaved` holds what the store has not seen yet, to be saved with the next group.
    """

    def __init__(self) -> None:
        self.unsaved: dict[tuple[str, int], int] = {}
        self._windows: dict[str, _Window] = {}

    def restore(self, counts: list[tuple[str, int, int]]) -> None:
        """Take over what the store knows: (caller, Unix second, count), oldest first."""
        for caller, second, count in counts:
            self._windows.setdefault(caller, _Window()).add(second, count)

    def take(self, caller: Caller, cost: int, now: int) -> Allowance:
        """Count `cost` events of a limited caller at `now` (Unix ms). Returns where they stand then.

        Raises `Refused` (`rate_limit_exceeded`), with nothing counted.
        """
        name, limit, second = caller.name, caller.limit or 0, now // 1000
        window = self._window(name, second)
        if window.used + cost > limit:
            wait = window.seconds_until(limit - cost, second)
            ever = "" if cost <= limit else f" This request alone has {cost}: send fewer at once."
            raise Refused(
                "rate_limit_exceeded",
                f"The limit of {limit} an hour is reached.{ever} Try again in {wait} seconds.",
                retry_after=wait,
            )
        window.add(second, cost)
        self.unsaved[name, second] = self.unsaved.get((name, second), 0) + cost
        return Allowance(limit, limit - window.used, window.oldest + HOUR - second)

    def give_back(self, caller: Caller, cost: int, now: int) -> None:
        """Uncount events that were taken at `now` and turned out to be a replay's, or could not be stored."""
        second = now // 1000
        window = self._windows.get(caller.name)
        if window is not None and window.give_back(second, cost):
            self.unsaved[caller.name, second] = self.unsaved.get((caller.name, second), 0) - cost

    def standing(self, caller: Caller, now: int) -> Allowance:
        """Where a limited caller stands, without counting anything."""
        limit, second = caller.limit or 0, now // 1000
        window = self._window(caller.name, second)
        return Allowance(limit, max(limit - window.used, 0), window.seconds_until(window.used - 1, second))

    def clear(self) -> None:
        """Forget all counts."""
        self.unsaved.clear()
        self._windows.clear()

    def forget_old(self, now: int) -> int:
        """Drop the callers who have sent nothing for an hour. Returns how many."""
        second = now // 1000 - HOUR
        old = [name for name, window in self._windows.items() if window.latest <= second]
        for name in old:
            del self._windows[name]
        return len(old)

    def keep_unsaved(self, counts: dict[tuple[str, int], int]) -> None:
        """Take back counts that could not be saved."""
        for caller, count in counts.items():
            self.unsaved[caller] = self.unsaved.get(caller, 0) + count

    def _window(self, name: str, second: int) -> "_Window":
        """A caller's hour before a second."""
        window = self._windows.get(name)
        if window is None or second < window.latest - HOUR:  # the clock was put back: those counts are of no hour now
            window = self._windows[name] = _Window()
        elif window.oldest <= second - HOUR:
            window.forget(second - HOUR)
        return window


class _Window:
    """One caller's hour: counts by second, oldest first, and their sum."""

    __slots__ = ("latest", "oldest", "seconds", "used")

    def __init__(self) -> None:
        self.used = self.oldest = self.latest = 0
        self.seconds: dict[int, int] = {}

    def add(self, second: int, count: int) -> None:
        if not self.seconds:
            self.oldest = self.latest = second
        elif second > self.latest:
            self.latest = second
        # A clock that was put back counts as standing still, so that the seconds stay in order.
        self.seconds[self.latest] = self.seconds.get(self.latest, 0) + count
        self.used += count

    def give_back(self, second: int, count: int) -> bool:
        """Uncount what was counted in a second. Returns False if that second is forgotten already."""
        second = second if second in self.seconds else max(second, self.latest)  # as in `add`
        if second not in self.seconds:
            return False
        self.seconds[second] -= count
        self.used -= count
        return True

    def forget(self, second: int) -> None:
        """Drop the counts up to and including `second`."""
        while self.seconds and (oldest := next(iter(self.seconds))) <= second:
            self.used -= self.seconds.pop(oldest)
        self.oldest = next(iter(self.seconds), 0)

    def seconds_until(self, most: int, now: int) -> int:
        """Seconds from `now` (Unix seconds) until no more than `most` are counted: at least 1, at most 3,600."""
        used = self.used
        for second, count in self.seconds.items():
            used -= count
            if used <= most:
                return min(max(second + HOUR - now, 1), HOUR)
        return HOUR if used > most else 1
