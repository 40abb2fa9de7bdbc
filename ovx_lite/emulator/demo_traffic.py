"""Traffic of a made-up site, to look at and to measure with: the same seed always makes the same. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest
from operator import attrgetter
from random import Random
from typing import NamedTuple, TypeVar

from ovx_lite.domain.calendar import day_start_ms
from ovx_lite.domain.models import Campaign, ClientInfo, Event, EventType, PageUrl, Person, Site, TrafficSource
from ovx_lite.enrichment.traffic_source import classify_source

_T = TypeVar("_T")


class Shape(NamedTuple):
    """How much traffic: visits a day (the mean over a year), and how many of each there are to choose from.

    The rest are parts of one: of the visitors, those whom the caller names, who come again on other days; of the
    views, those told how long they took; and how many bots there are to a visit.
    """

    visits_a_day: int = 250
    pages: int = 60
    referrers: int = 40
    countries: int = 25
    browsers: int = 6
    named: float = 0.1
    engaged: float = 0.5
    bots: float = 0.03


SMALL = Shape()
LARGE = Shape(6849, 2000, 800, 120, 12, named=0.3, engaged=0, bots=0)  # 2.5 million visits, 10 million events a year

_MINUTE = 60_000
_VIEW = EventType("apex", "pageview", "pageview", "")
_BOT = EventType("apex", "pageview", "pageview", "bot")
_ENGAGEMENT = EventType("apex", "event", "engagement", "")
_CRAWLERS = [ClientInfo(name, "", "", "US") for name in ("Googlebot", "bingbot", "GPTBot")]

# What there is to choose from, the most popular first: see `_some`.
_PATHS = """
/ /pricing /blog/why-we-host-it-ourselves /docs/ /signup /docs/install /blog/a-year-of-numbers /features /docs/api
/blog/cookies-are-over /checkout/thanks /changelog /docs/events /about /blog/one-file-is-enough /docs/goals /customers
/docs/webhooks /blog/version-2 /contact /docs/faq /blog/hiring /security /privacy
"""
_ENTRIES = ("/blog/", "/articles/", "/docs/")  # and the front page
# After a question mark: the campaign's source, medium, campaign, content and term.
_REFERRERS = """
www.google.com/ news.ycombinator.com/item www.bing.com/ www.reddit.com/r/selfhosted/ duckduckgo.com/ chatgpt.com/
?newsletter,email,product-news,header t.co/ www.google.com/?google,cpc,brand,headline-a,web-analytics
github.com/topics/analytics www.linkedin.com/ ?newsletter,email,product-news,footer www.perplexity.ai/ lobste.rs/
?partner,referral,integrations www.google.com/?google,cpc,generic,headline-b,visitor-counter www.youtube.com/
m.facebook.com/?facebook,paid_social,launch,video mail.google.com/?newsletter,email,tips,header claude.ai/ bsky.app/
"""
_SETUPS = """
Chrome Windows desktop, Safari iOS mobile, Chrome Android mobile, Chrome macOS desktop, Edge Windows desktop,
Firefox Windows desktop, Safari macOS desktop, Firefox Linux desktop, Samsung Internet Android mobile,
Safari iOS tablet, Chrome Linux desktop, Opera Windows desktop, Chrome iOS mobile, Chrome Android tablet,
Firefox Android mobile, Chrome ChromeOS desktop, Brave Windows desktop, DuckDuckGo Android mobile,
Yandex Browser Windows desktop, Vivaldi Linux desktop, Google app iOS mobile, Android Browser Android mobile
"""
_COUNTRIES = """
US DE GB FR IN CA NL BR ES AU IT PL SE JP CH AT BE PT DK NO FI CZ IE MX ZA KR SG TR UA RO GR HU IL AR NZ ID PH VN TH MY
TW HK CN CL CO PE EG NG KE MA SA AE PK BD LK NP KZ GE AM RS HR SI SK BG LT LV EE LU IS MT CY AL BA MK ME MD BY RU UZ KG
TN DZ GH CI SN CM UG TZ RW ET ZM ZW MZ AO NA BW MU MG UY PY BO EC VE CR PA GT HN SV NI DO JM TT CU PR QA KW BH OM JO LB
"""

_BY_HOUR = (8, 5, 4, 3, 3, 4, 8, 18, 40, 60, 66, 64, 52, 56, 66, 66, 60, 50, 42, 38, 38, 34, 24, 14)
_BY_WEEKDAY = (1.12, 1.16, 1.15, 1.12, 1.03, 0.69, 0.73)  # from Monday; one on average
_SEASON_BEGINS = 20697  # 2026-09-01
_SPIKE_EVERY = 73  # days: five in a year
_TWICE = 0.12  # of a day's visitors come a second time
_VIEWS = [1] * 45 + [2] * 16 + [3] * 10 + [4] * 7 + [5] * 6 + [6] * 4 + [8] * 4 + [10] * 3 + [16] * 3 + [22] * 2
_GIVEN_NAMES = ("Ada", "Bruno", "Chidi", "Dana", "Emil", "Fatima", "Goran", "Hana", "Ines", "Jonas", "Keiko")
_FAMILY_NAMES = ("Abel", "Berg", "Costa", "Dubois", "Endo", "Fischer", "Garcia", "Haddad", "Ivanova", "Jensen")


class _Deed(NamedTuple):
    """What somebody does on a page. `props` is a JSON object as text, `revenue` in minor units."""

    kind: EventType
    props: str
    revenue: int | None = None


_SIGN_UP, _SEARCH, _DOWNLOAD, _OUTBOUND = (
    EventType("apex", "event", name, "") for name in ("signup", "search", "download", "outbound")
)
_CLICKS = [
    _Deed(_OUTBOUND, '{"url":"https://github.com/example/example"}'),
    _Deed(_DOWNLOAD, '{"file":"example-2.1.tar.gz"}'),
    *(_Deed(_SEARCH, f'{{"words":"{words}"}}') for words in ("install", "backup", "export", "import logs", "price")),
]
_SIGN_UPS = [
    _Deed(_SIGN_UP, f'{{"plan":"{plan}","source_page":"{path}"}}')
    for plan, path in (("free", "/pricing"), ("pro", "/pricing"), ("free", "/"), ("free", "/docs/"), ("pro", "/"))
]
_SALES = [
    _Deed(purchase, f'{{"plan":"{plan}","seats":{seats}}}', price * times * seats)
    for currency, price in (("EUR", 1900), ("USD", 2100), ("JPY", 3200))
    for purchase in [EventType("openanalytics", "conversion", "purchase", "", "", currency)]
    for seats in (1, 2, 5, 10, 25)
    for plan, times in (("pro", 1), ("team", 3))
]
# How likely a view of a page leads to a deed, and to which.
_DEEDS = {"/checkout/thanks": (0.9, _SALES), "/signup": (0.4, _SIGN_UPS)}

_Whom = tuple[tuple[ClientInfo, int, int], Person | None]  # with what, who, who on that day; and which person
_Arrival = tuple[int, TrafficSource]  # on the page of which number, and from where


class _World(NamedTuple):
    """All that there is to choose from, made once, so that what is equal is the same object.

    `deeds` are, by page, how likely a view leads to one, and to which; `entries` are numbers of pages; `own` are the
    first pages as origins; `clients` are by country.
    """

    shape: Shape
    pages: list[PageUrl]
    deeds: list[tuple[float, list[_Deed]]]
    entries: list[int]
    direct: TrafficSource
    origins: list[TrafficSource]
    own: list[TrafficSource]
    clients: list[list[ClientInfo]]


def day_of_traffic(site: Site, seed: int, day: int, shape: Shape) -> list[Event]:
    """What happens on a site on a day (days since 1970-01-01 in its time zone), in the order of time.

    The same arguments always give the same events. On some days, a crowd comes from one place to one page.
    """
    chance = Random(f"{seed} {day}")  # noqa: S311 - nothing here is secret
    draw = chance.random
    world = _world(site.domain, shape)
    begins, ends = day_start_ms(day, site.timezone), day_start_ms(day + 1, site.timezone)
    spike = Random(f"{seed} spike {day // _SPIKE_EVERY}").randrange(_SPIKE_EVERY)  # noqa: S311 - nor here
    crowd = chance.uniform(0.8, 1.6) if day % _SPIKE_EVERY == spike else 0.0  # as a part of the usual visits
    news = _some(world.entries, draw()), _some(world.origins, draw())
    visits = shape.visits_a_day * _usual(day) * chance.uniform(0.92, 1.08) * (1 + crowd)
    events = [
        Event(begins + int(draw() * (ends - begins)), day, _BOT, _some(world.pages, draw()), world.direct, client)
        for client in chance.choices(_CRAWLERS, k=round(visits * shape.bots))
    ]
    visitors = round(visits / (1 + _TWICE))
    hours = chance.choices(range(24), _BY_HOUR, k=visitors)
    for hour, member in zip_longest(hours, _members(chance, day, shape, visitors)):
        whom = _somebody(world, chance, seed, day, member)
        start = begins + int((hour + draw()) / 24 * (ends - begins))
        arrival = news if draw() < crowd / (1 + crowd) else _arrival(world, chance)
        visit = _visit(world, chance, day, whom, start, arrival)
        events += visit
        if draw() < _TWICE:
            later = visit[-1].timestamp_ms + 31 * _MINUTE + int(draw() * 240 * _MINUTE)
            events += _visit(world, chance, day, whom, later, _arrival(world, chance))
    return sorted(
        (event for event in events if event.timestamp_ms < ends), key=attrgetter("timestamp_ms")
    )  # none goes over midnight


def _visit(world: _World, chance: Random, day: int, whom: _Whom, ts: int, arrival: _Arrival) -> list[Event]:
    """All that happens on a visit that begins at `ts` (Unix ms). Whoever is a person logs in on the first page."""
    draw, every, events = chance.random, range(len(world.pages)), []
    who, person = whom
    number, source = arrival
    known = None
    for _ in range(_VIEWS[int(draw() * len(_VIEWS))]):
        page = world.pages[number]
        events.append(Event(ts, day, _VIEW, page, source, *who, None, None, known))
        pause = 4_000 + int(draw() ** 4 * 8 * _MINUTE)
        likely, deeds = world.deeds[number]
        if draw() < likely:
            kind, props, revenue = _some(deeds, draw())
            events.append(Event(ts + pause // 2, day, kind, page, source, *who, None, props, known, revenue))
        ts += pause
        if draw() < world.shape.engaged:
            seen = f'{{"ms":{int(pause * (1 + draw()) / 2)},"scroll":{min(100, int(draw() * 130))}}}'
            events.append(Event(ts, day, _ENGAGEMENT, page, source, *who, None, seen, known))
        # A browser would name the page before; most servers that tell of a visit only know how it began.
        source = world.own[number] if number < len(world.own) and draw() < 0.25 else arrival[1]
        number = _some(every, draw())
        known = person
    return events


def _arrival(world: _World, chance: Random) -> _Arrival:
    source = world.direct if chance.random() < 1 / 3 else _some(world.origins, chance.random())
    return _some(world.entries, chance.random()), source


def _somebody(world: _World, chance: Random, seed: int, day: int, member: int | None) -> _Whom:
    """Somebody new, or the member of that number, who is the same on every day. One in two members is a person."""
    visitor = chance.getrandbits(48) - (1 << 47) if member is None else _mixed(seed, member, 48)
    country, setup = (visitor >> 32 & 0xFFFF) / 0x10000, (visitor >> 16 & 0xFFFF) / 0x10000
    who = _some(_some(world.clients, country), setup), visitor, visitor if member is None else visitor ^ day
    if member is None or member % 2:
        return who, None
    given, family = (names[member // 2 % len(names)] for names in (_GIVEN_NAMES, _FAMILY_NAMES))
    traits = {"name": f"{given} {family}", "email": f"user{member}@example.com"}
    return who, Person(_mixed(seed, member, 63), f"user-{member}", traits)


def _members(chance: Random, day: int, shape: Shape, visitors: int) -> list[int]:
    """Which of those with a name come on a day. Each day there are new ones; they come less and less often."""
    usual = shape.visits_a_day * shape.named
    newest, fades = day * (int(usual / 8) + 1), 1 / (usual * 5 + 1)
    drawn = (newest - int(chance.expovariate(fades)) for _ in range(round(visitors * shape.named)))
    return list(dict.fromkeys(drawn))


def _mixed(seed: int, member: int, bits: int) -> int:
    """A signed number of so many bits that looks random, and is no other member's, as the factor is odd."""
    return (member * 0x9E3779B97F4A7C15 + seed * 0xD1B54A32D192ED03) % (1 << bits) - (1 << bits - 1)


def _usual(day: int) -> float:
    """A day's visits as a part of the mean: few at weekends, and more each month but in summer, for ever the same."""
    passed = (day - _SEASON_BEGINS) % 365
    grown = passed / 300 if passed < 300 else (365 - passed) / 65
    return _BY_WEEKDAY[(day + 3) % 7] * (0.88 + 0.24 * grown)


def _some(of: Sequence[_T], drawn: float) -> _T:
    """Choose by a number from 0 to 1: the first most often, the second about half as often, then a third as often."""
    return of[int((len(of) + 1) ** drawn) - 1]


@lru_cache(maxsize=8)
def _world(domain: str, shape: Shape) -> _World:
    """The world of a site of that domain, `""` for any."""
    host = domain or "example.com"
    paths = [*_PATHS.split(), *(f"/articles/{number}" for number in range(1, shape.pages))][: shape.pages]
    referrers = [*_REFERRERS.split(), *(f"site-{number}.example/" for number in range(1, shape.referrers))]
    parted = [referrer.partition("?") for referrer in referrers[: shape.referrers]]
    setups = [setup.strip().rsplit(" ", 2) for setup in _SETUPS.split(",")]
    browsers = list(dict.fromkeys(browser for browser, _, _ in setups))[: shape.browsers]
    clients = [ClientInfo(browser, system, device, "") for browser, system, device in setups if browser in browsers]
    return _World(
        shape,
        [PageUrl("https", host, path) for path in paths],
        [_DEEDS.get(path, (0.15, _CLICKS)) for path in paths],
        [number for number, path in enumerate(paths) if path == "/" or path.startswith(_ENTRIES)],
        classify_source("", Campaign(), host, domain),
        [classify_source(referrer, Campaign(*words.split(",")), host, domain) for referrer, _, words in parted],
        [classify_source(f"{host}{path}", Campaign(), host, domain) for path in paths[:100]],
        [[client._replace(country=country) for client in clients] for country in _COUNTRIES.split()[: shape.countries]],
    )
