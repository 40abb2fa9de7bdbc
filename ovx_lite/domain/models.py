"""The data model, as immutable values.

The tuples `PageUrl`, `TrafficSource`, `ClientInfo` and `EventType` group strings that many events share. The store
keeps each distinct tuple once, in a lookup table, and events refer to its ID.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

COUNTER_BITS = 21
"""An event's ID is its time (Unix ms) and, in these lowest bits, a counter for events in the same millisecond."""

MAX_TIMESTAMP_MS = (1 << 42) - 1
"""The latest time of an event that an ID can hold, in the year 2109."""


class PageUrl(NamedTuple):
    """The parts of an event's URL that are stored."""

    scheme: str
    host: str
    path: str


class Campaign(NamedTuple):
    """The campaign parameters of a URL's query; `""` for each that is missing."""

    source: str = ""
    medium: str = ""
    campaign: str = ""
    content: str = ""
    term: str = ""


class TrafficSource(NamedTuple):
    """Where the visitor came from: the referrer's host and path, its source and channel, and the campaign."""

    referrer: str
    source: str
    channel: str
    utm_source: str
    utm_medium: str
    utm_campaign: str
    utm_content: str
    utm_term: str


class UserAgent(NamedTuple):
    """What a user agent says about the client: display names, `""` if unknown.

    `device` is desktop, mobile, tablet or tv.
    """

    browser: str
    os: str
    device: str
    bot: bool


class ClientInfo(NamedTuple):
    """The parts of the visitor's client that are stored; `country` is an ISO 3166-1 alpha-2 code or `""`."""

    browser: str
    os: str
    device: str
    country: str


class EventType(NamedTuple):
    """The dialect (`api`), type and name of an event.

    `excluded` is the reason why it is in no count, or `""` if it counts. `context` is website, product or `""`.
    `currency` is the ISO 4217 code of its revenue, or `""` without revenue.
    """

    api: str
    type: str
    name: str
    excluded: str
    context: str = ""
    currency: str = ""

    @property
    def is_engagement(self) -> bool:
        """Whether this is the browser script's report of how long and how far a page was read. It is in no count."""
        return self.name == "engagement" and self.api == "apex"


class Identity(msgspec.Struct, frozen=True, gc=False):
    """A person as the caller identifies them: their ID at the caller, and traits with JSON values."""

    user_id: str
    traits: Mapping[str, Any] = {}


class Person(msgspec.Struct, frozen=True, gc=False):
    """A person as stored: `id` is a 63-bit hash of `user_id`, the caller's ID."""

    id: int
    user_id: str
    traits: Mapping[str, Any] = {}

    @property
    def visitor_id(self) -> int:
        """The visitor ID (48 bits) of the person's events that have no device ID, IP address or user agent."""
        return self.id >> 15


class Hit(msgspec.Struct, frozen=True, gc=False):
    """An event as a caller sends it, before enrichment. It is never stored.

    `referrer` is the host and path of the referring URL, or `""`; `props` is a JSON object as text. `device_id` and
    `session_id` are the caller's own IDs of the visitor and the visit. A page with scheme http or https but no host is
    on the site's domain. `revenue_minor` is in minor units of `currency`, which is `""` without revenue.
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
    """An event as it is stored. It has no field for an IP address or a user agent, so neither can be stored.

    - `day` is the day in the site's time zone (days since 1970-01-01).
    - `visitor_id` (48 bits) is the same on all days if the caller identifies the visitor, else it is for one day. It is
      None if nothing distinguishes the visitor from others.
    - `daily_visitor_id` (48 bits) is the visitor on this day only.
    - `session_key` (48 bits) stands for the caller's session ID, which defines a visit.
    - `import_line_hash` is a hash of the log line without its address. Only imported events have one.
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
    """A site; some products call it a project. `slug` is its ID outside of the store, `id` inside.

    `secret` is the key for hashes of the callers' IDs of devices, sessions and persons. The last three fields restrict
    requests without an API key: `allowed_hosts` are the hosts whose pages may send events (empty: all), `hourly_limit`
    is the number of requests per address (None: the default), and `hourly_events` of events (None: no limit).
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
    """An API key. The key itself is not stored, only its SHA-256, `key_hash`."""

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
    """What a site wants visitors to do: an event called `event_name`, or a pageview that `path_pattern` matches.

    One of the two is `""`. The goal is counted from the day `counted_from_day` (days since 1970-01-01) on.
    """

    public_id: str
    site_id: int
    name: str
    event_name: str
    path_pattern: str
    created_at_ms: int
    id: int = 0
    counted_from_day: int = 0


class Webhook(msgspec.Struct, frozen=True):
    """A URL that receives messages about a site. `public_id` is its ID outside of the store, `id` inside.

    - `events` are the triggers it subscribes to. `spike_threshold` is the number of active visitors above which
      `realtime.spike` fires.
    - `previous_secret` was replaced by `secret` at `rotated_at_ms`.
    - `disabled_reason` says why the server disabled it, or is `""`.
    - `failing_since_ms` is when the first attempt failed since the last success. `failed_deliveries` counts the
      deliveries that were given up since then.
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
    """A snapshot of all sites and API keys. Any change replaces the whole snapshot."""

    version: int = 0
    sites_by_slug: Mapping[str, Site] = {}
    sites_by_id: Mapping[int, Site] = {}
    sites_by_public_key: Mapping[str, Site] = {}
    api_keys_by_hash: Mapping[bytes, ApiKey] = {}


class Reply(msgspec.Struct, frozen=True):
    """A response: HTTP status and JSON body. `replayed` marks a repeat of the response to an earlier request."""

    status: int
    body: bytes
    replayed: bool = False


def public_event_id(event_id: int) -> str:
    """Return the public ID of an event. Public IDs sort by time, also as text."""
    return f"evt_{event_id:016x}"
