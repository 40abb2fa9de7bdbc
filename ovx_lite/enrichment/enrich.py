"""From a hit to an event: what we learn from it, and what we forget. Pure."""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import ClientInfo, Event, EventType, Hit, Person, Site, UserAgent
from ovx_lite.enrichment.traffic_source import classify_source
from ovx_lite.enrichment.user_agent import parse_user_agent


def enrich(hit: Hit, api: str, site: Site, salt: bytes, country_of: Callable[[str], str]) -> Event:
    """Make the event of a hit. Address and user agent end here: the event has only what they told.

    `api` names the dialect; `salt` is the site's secret of today; `country_of(address)` gives ISO 3166-1 alpha-2
    or `""`. A bot's event is kept, excluded from all counts, and is no visitor's. Apps (`app://…`) are taken at
    their word: the libraries they send with are called bots elsewhere.
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
        hit.timestamp_ms,
        day,
        _event_type(api, hit.type, hit.name, excluded, hit.context, hit.currency),
        page,
        classify_source(hit.referrer, hit.campaign, page.host, site.domain),
        _client_info(user_agent, country_of(hit.address) if hit.address else ""),
        visitor_id,
        daily_visitor_id,
        session_key,
        hit.props,
        person,
        hit.revenue_minor,
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
    """Who it was, who on that day, and on which stay (see `Event`), as 48-bit numbers; None for what is not told.

    Where the caller named the device, the visitor is a hash of that name under the site's own secret, every day the
    same. Else it is one of address and user agent under the salt, and so nobody once the salt is deleted; it has the
    day in it, so that an event of an earlier day, told late, makes a visitor of that day. Where none of these is
    known, it is the person that the caller named. A stay never goes over the site's midnight.
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
