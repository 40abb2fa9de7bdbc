"""The nouns: what the program talks about, as frozen values.

A tuple (`Page`, `Origin`, `Client`, `Kind`) groups strings that repeat; it is stored once and referred to by number.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

COUNTER_BITS = 21
"""An event's number is its time (Unix ms) and, in so many bits, a counter that tells apart those of one millisecond."""

MAX_TIMESTAMP_MS = (1 << 42) - 1
"""The last millisecond that an event can have, in the year 2109."""


class PageUrl(NamedTuple):
    """Where an event happened: what is kept of its URL."""

    scheme: str
    host: str
    path: str


class Campaign(NamedTuple):
    """What a URL's query says of where the visitor came from; `""` for what it does not say."""

    source: str = ""
    medium: str = ""
    campaign: str = ""
    content: str = ""
    term: str = ""


class TrafficSource(NamedTuple):
    """Where the visitor came from: the referrer's host and path, what we call it, and the campaign."""

    referrer: str
    source: str
    channel: str
    utm_source: str
    utm_medium: str
    utm_campaign: str
    utm_content: str
    utm_term: str


class UserAgent(NamedTuple):
    """What a user agent tells: names as people say them, `""` for unknown; `device`: desktop, mobile, tablet or tv."""

    browser: str
    os: str
    device: str
    bot: bool


class ClientInfo(NamedTuple):
    """What we keep of the visitor's side; `country` is ISO 3166-1 alpha-2 or `""`."""

    browser: str
    os: str
    device: str
    country: str


class EventType(NamedTuple):
    """What sort of event: who spoke (`api`), what it is, its name, and why it is not counted (`""`: it is).

    `context` is website, product or `""`; `currency` what its revenue is in (ISO 4217), `""` without revenue.
    """

    api: str
    type: str
    name: str
    excluded: str
    context: str = ""
    currency: str = ""

    @property
    def is_engagement(self) -> bool:
        """Whether it only tells how long and how far a page was looked at, as our script does."""
        return self.name == "engagement" and self.api == "apex"


class Identity(msgspec.Struct, frozen=True, gc=False):
    """Whom a caller named: by the `id` that they have there, with what was told of them (JSON values)."""

    user_id: str
    traits: Mapping[str, Any] = {}


class Person(msgspec.Struct, frozen=True, gc=False):
    """A person as the store knows them: by a number (63 bits) that is a hash of the `id`."""

    id: int
    user_id: str
    traits: Mapping[str, Any] = {}

    @property
    def visitor_id(self) -> int:
        """The visitor (48 bits) that the person is where no device was named."""
        return self.id >> 15


class Hit(msgspec.Struct, frozen=True, gc=False):
    """What a caller said, in our words. Never stored.

    `ts` is Unix ms; `referrer` the referring URL's host and path, or `""`; `props` a JSON object as text. `device` and
    `session` are the caller's own names for who it was and which visit. A page of scheme http or https without a host
    is the site's own. `revenue` is in minor units of `currency`, which is `""` without revenue.
    """

    type: str
    name: str
    timestamp_ms: int
    page: PageUrl
    campaign: Campaign = Campaign()
    referrer: str = ""
    address: str = ""
    user_agent: str = ""
    props: str | None = None
    device_id: str = ""
    session_id: str = ""
    identity: Identity | None = None
    context: str = ""
    revenue_minor: int | None = None
    currency: str = ""


class Event(msgspec.Struct, frozen=True, gc=False):
    """What we keep. It has no field for an address or a user agent, so neither can be kept.

    `ts` is Unix milliseconds, `day` the site's day (days since 1970-01-01). `visitor` is a 48-bit number: nobody's on
    any other day, or the same for ever where the caller named the visitor; None where nothing tells one from another.
    `guest` is the visitor on that day, `stay` a session that the caller named, and so all one visit: such numbers, too.
    `line` is set on imported events alone: a digest of the log line without its address.
    """

    timestamp_ms: int
    day: int
    event_type: EventType
    page: PageUrl
    traffic_source: TrafficSource
    client: ClientInfo
    visitor_id: int | None = None
    daily_visitor_id: int | None = None
    session_key: int | None = None
    props: str | None = None
    person: Person | None = None
    revenue_minor: int | None = None
    import_line_hash: int | None = None


class Site(msgspec.Struct, frozen=True):
    """A site (a project, in other products' words). `id` is its name to the world, `number` to the store.

    Names that callers give are hashed with `secret`. Without an API key, pages of `allowed_hosts` may send events, none
    for all; one address may send `hourly_limit` requests, None for the usual, and `hourly_events` events, None for any.
    """

    id: int
    slug: str
    name: str
    domain: str
    timezone: str
    public_key: str
    jwt_secret: str
    monthly_limit: int | None
    retention_days: int | None
    created_at_ms: int
    secret: bytes
    allowed_hosts: tuple[str, ...] = ()
    hourly_limit: int | None = None
    hourly_events: int | None = None


class ApiKey(msgspec.Struct, frozen=True):
    """An API key. The key itself is not here: the store has only its SHA-256, `digest`."""

    public_id: str
    site_id: int
    label: str
    tier: str
    hourly_limit: int | None
    key_hash: bytes
    created_at_ms: int
    revoked_at_ms: int | None
    last_used_at_ms: int | None = None


class Goal(msgspec.Struct, frozen=True):
    """What a site wants of its visitors: an `event` of that name, or a pageview of a `path`. Counted `since` a day."""

    public_id: str
    site_id: int
    name: str
    event_name: str
    path_pattern: str
    created_at_ms: int
    id: int = 0
    counted_from_day: int = 0


class Webhook(msgspec.Struct, frozen=True):
    """Where to send what happens on a site. `id` is its name to the world, `number` to the store.

    `events` are those that it is told of; `spike_above` how many active visitors are a spike. `old_secret` gave way at
    `rotated`. `why` says why it was disabled, if nobody did it by hand; `exhausted` how many deliveries were given up
    since `failing_since`, when the first try failed that no success followed.
    """

    id: int
    public_id: str
    site_id: int
    url: str
    events: tuple[str, ...]
    spike_threshold: int | None
    format: str
    secret: str
    previous_secret: str
    rotated_at_ms: int
    enabled: bool
    disabled_reason: str
    failing_since_ms: int | None
    failed_deliveries: int
    created_at_ms: int


class Registry(msgspec.Struct, frozen=True):
    """Sites and keys as one snapshot, replaced whole when any of it changes."""

    version: int = 0
    sites_by_slug: Mapping[str, Site] = {}
    sites_by_id: Mapping[int, Site] = {}
    sites_by_public_key: Mapping[str, Site] = {}
    api_keys_by_hash: Mapping[bytes, ApiKey] = {}


class Reply(msgspec.Struct, frozen=True):
    """An answer: HTTP status and JSON bytes; `replayed` where it is an earlier request's answer given again."""

    status: int
    body: bytes
    replayed: bool = False


def public_event_id(event_id: int) -> str:
    """The public name of the event stored under `number`: sorts by time, as text too."""
    return f"evt_{event_id:016x}"
