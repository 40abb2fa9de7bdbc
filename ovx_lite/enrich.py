"""From a hit to an event: what we learn from it, and what we forget. Pure."""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from ovx_lite.agents import describe
from ovx_lite.model import Agent, Client, Event, Hit, Kind, Site, local_day
from ovx_lite.sources import origin


def enrich(hit: Hit, api: str, site: Site, salt: bytes, country_of: Callable[[str], str]) -> Event:
    """Make the event of a hit. Address and user agent end here: the event has only what they told.

    `api` names the dialect; `salt` is the site's secret of today; `country_of(address)` gives ISO 3166-1 alpha-2
    or `""`. A bot's event is kept, excluded from all counts, and is no visitor's. Apps (`app://…`) are taken at
    their word: the libraries they send with are called bots elsewhere.
    """
    agent = describe(hit.user_agent)
    excluded = "bot" if agent.bot and hit.page.scheme in ("http", "https") else ""
    day = local_day(hit.ts, site.timezone)
    return Event(
        hit.ts,
        _kind(api, hit.type, hit.name, excluded),
        hit.page,
        origin(hit.referrer, hit.campaign, hit.page.host, site.domain),
        _client(agent, country_of(hit.address) if hit.address else ""),
        None if excluded else visitor(salt, day, hit.address, hit.user_agent),
        hit.props,
    )


@lru_cache(maxsize=1024)
def _kind(api: str, type: str, name: str, excluded: str) -> Kind:
    return Kind(api, type, name, excluded)


@lru_cache(maxsize=4096)
def _client(agent: Agent, country: str) -> Client:
    return Client(agent.browser, agent.os, agent.device, country)


def visitor(salt: bytes, day: int, address: str, user_agent: str) -> int | None:
    """Who it was, as a number that only this salt can make again, and so nobody once the salt is deleted.

    Each site has a salt of its own. The day is part of it: an event of an earlier day, told late, makes a visitor of
    that day. None where there is neither address nor user agent, and so nothing that tells one visitor from another.
    """
    if not address and not user_agent:
        return None
    who = f"{day}\n{address}\n{user_agent}".encode()
    return int.from_bytes(blake2b(who, digest_size=6, key=salt).digest(), "big", signed=True)
