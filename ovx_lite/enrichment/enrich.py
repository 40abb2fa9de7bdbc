"""From a hit to an event: add what follows from its data, and drop what must not be stored. Pure."""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import ClientInfo, Event, EventType, Hit, Person, Site, UserAgent
from ovx_lite.enrichment.traffic_source import classify_source
from ovx_lite.enrichment.user_agent import parse_user_agent


def enrich(hit: Hit, api: str, site: Site, salt: bytes, country_of: Callable[[str], str]) -> Event:
    """Build the event of a hit. IP address and user agent go no further: the event has only what follows from them.

    `api` is the name of the dialect, `salt` the site's random key of today. `country_of(address)` returns an ISO 3166-1
    alpha-2 code or `""`. A bot's event is stored without a visitor and excluded from all counts. Events of apps
    (`app://…`) are never a bot's: apps send with HTTP libraries, which are bots on web pages.
    """
    user_agent = parse_user_agent(hit.user_agent)
    page, is_web = hit.page, hit.page.scheme in ("http", "https")
    if is_web and not page.host and site.domain:
        page = page._replace(host=site.domain)
    excluded = "bot" if user_agent.bot and (is_web or not page.scheme) else ""
    identity = hit.identity
    person = (
        None
        if excluded or identity is None
        else Person(_hash(site.secret, identity.user_id, 8) >> 1, identity.user_id, identity.traits)
    )
    day = local_day(hit.timestamp_ms, site.timezone)
    visitor_id, daily_visitor_id, session_key = (
        (None, None, None) if excluded else identify_visitor(hit, day, person, site, salt)
    )
    return Event(
        timestamp_ms=hit.timestamp_ms,
        day=day,
        event_type=_event_type(api, hit.type, hit.name, excluded, hit.context, hit.currency),
        page=page,
        traffic_source=classify_source(hit.referrer, hit.campaign, page.host, site.domain),
        client=_client_info(user_agent, country_of(hit.address) if hit.address else ""),
        visitor_id=visitor_id,
        daily_visitor_id=daily_visitor_id,
        session_key=session_key,
        props=hit.props,
        person=person,
        revenue_minor=hit.revenue_minor,
    )


@lru_cache(maxsize=1024)
def _event_type(api: str, type: str, name: str, excluded: str, context: str, currency: str) -> EventType:
    return EventType(api, type, name, excluded, context, currency)


@lru_cache(maxsize=4096)
def _client_info(user_agent: UserAgent, country: str) -> ClientInfo:
    return ClientInfo(user_agent.browser, user_agent.os, user_agent.device, country)


def identify_visitor(
    hit: Hit, day: int, person: Person | None, site: Site, salt: bytes
) -> tuple[int | None, int | None, int | None]:
    """Return `visitor_id`, `daily_visitor_id` and `session_key` of the event (see `Event`), each a 48-bit hash or None.

    With a device ID from the caller, the visitor is a hash of it under the site's permanent secret, the same every day.
    Otherwise, the visitor is a hash of IP address and user agent under the salt, and cannot be recomputed once the salt
    is deleted. This hash includes the day, so that an event that arrives late belongs to a visitor of its own day. With
    none of these, the visitor is the person. Session keys depend on the day, so no visit crosses the site's midnight.
    """
    key = site.secret
    if hit.device_id:
        visitor_id = _hash(key, f"device\n{hit.device_id}")
    elif hit.address or hit.user_agent:
        key = salt
        visitor_id = _hash(key, f"{day}\n{hit.address}\n{hit.user_agent}")
    elif person is not None:
        visitor_id = person.visitor_id
    else:
        return None, None, None
    daily_visitor_id = visitor_id if key is salt else visitor_id ^ day
    return visitor_id, daily_visitor_id, _hash(key, f"{daily_visitor_id}\n{hit.session_id}") if hit.session_id else None


def _hash(key: bytes, text: str, size_bytes: int = 6) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=size_bytes, key=key).digest(), "big", signed=True)
