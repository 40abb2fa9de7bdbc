"""From a hit to an event: what we learn from it, and what we forget. Pure."""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from ovx_lite.domain.calendar import local_day
from ovx_lite.domain.models import Agent, Client, Event, Hit, Kind, Person, Site
from ovx_lite.enrichment.traffic_source import origin
from ovx_lite.enrichment.user_agent import describe


def enrich(hit: Hit, api: str, site: Site, salt: bytes, country_of: Callable[[str], str]) -> Event:
    """Make the event of a hit. Address and user agent end here: the event has only what they told.

    `api` names the dialect; `salt` is the site's secret of today; `country_of(address)` gives ISO 3166-1 alpha-2
    or `""`. A bot's event is kept, excluded from all counts, and is no visitor's. Apps (`app://…`) are taken at
    their word: the libraries they send with are called bots elsewhere.
    """
    agent = describe(hit.user_agent)
    page, of_the_web = hit.page, hit.page.scheme in ("http", "https")
    if of_the_web and not page.host and site.domain:
        page = page._replace(host=site.domain)
    excluded = "bot" if agent.bot and (of_the_web or not page.scheme) else ""
    named = hit.person
    person = (
        None if excluded or named is None else Person(_number(site.secret, named.id, 8) >> 1, named.id, named.traits)
    )
    day = local_day(hit.ts, site.timezone)
    visitor, guest, stay = (None, None, None) if excluded else who(hit, day, person, site, salt)
    return Event(
        hit.ts,
        day,
        _kind(api, hit.type, hit.name, excluded, hit.context, hit.currency),
        page,
        origin(hit.referrer, hit.campaign, page.host, site.domain),
        _client(agent, country_of(hit.address) if hit.address else ""),
        visitor,
        guest,
        stay,
        hit.props,
        person,
        hit.revenue,
    )


@lru_cache(maxsize=1024)
def _kind(api: str, type: str, name: str, excluded: str, context: str, currency: str) -> Kind:
    return Kind(api, type, name, excluded, context, currency)


@lru_cache(maxsize=4096)
def _client(agent: Agent, country: str) -> Client:
    return Client(agent.browser, agent.os, agent.device, country)


def who(
    hit: Hit, day: int, person: Person | None, site: Site, salt: bytes
) -> tuple[int | None, int | None, int | None]:
    """Who it was, who on that day, and on which stay (see `Event`), as 48-bit numbers; None for what is not told.

    Where the caller named the device, the visitor is a hash of that name under the site's own secret, every day the
    same. Else it is one of address and user agent under the salt, and so nobody once the salt is deleted; it has the
    day in it, so that an event of an earlier day, told late, makes a visitor of that day. Where none of these is
    known, it is the person that the caller named. A stay never goes over the site's midnight.
    """
    key = site.secret
    if hit.device:
        visitor = _number(key, f"device\n{hit.device}")
    elif hit.address or hit.user_agent:
        key = salt
        visitor = _number(key, f"{day}\n{hit.address}\n{hit.user_agent}")
    elif person is not None:
        visitor = person.visitor
    else:
        return None, None, None
    guest = visitor if key is salt else visitor ^ day
    return visitor, guest, _number(key, f"{guest}\n{hit.session}") if hit.session else None


def _number(key: bytes, text: str, size: int = 6) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=size, key=key).digest(), "big", signed=True)
