"""From a hit to an event: what we learn from it, and what we forget. Pure."""

from collections.abc import Callable
from hashlib import blake2b

from ovx_lite.agents import describe
from ovx_lite.model import Client, Event, Hit, Kind, Site, local_day
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
        day,
        Kind(api, hit.type, hit.name, excluded),
        hit.page,
        origin(hit.referrer, hit.campaign, hit.page.host, site.domain),
        Client(agent.browser, agent.os, agent.device, country_of(hit.address) if hit.address else ""),
        None if excluded else visitor(salt, site.number, day, hit.address, hit.user_agent),
        hit.props,
    )


def visitor(salt: bytes, site: int, day: int, address: str, user_agent: str) -> int | None:
    """Who it was, as a number that only this salt can make again, and so nobody once the salt is deleted.

    The day is part of it: an event of an earlier day, told late, makes a visitor of that day. None where there
    is neither address nor user agent, and so nothing that tells one visitor from another.
    """
    if not address and not user_agent:
        return None
    who = f"{site}\n{day}\n{address}\n{user_agent}".encode(errors="replace")
    return int.from_bytes(blake2b(who, digest_size=6, key=salt).digest(), "big", signed=True)
