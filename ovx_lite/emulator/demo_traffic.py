"""Generates the traffic of a fictional site, for demos and benchmarks. The same seed gives the same traffic. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest
from operator import attrgetter
from random import Random
from typing import NamedTuple, TypeVar

from ovx_lite.domain.calendar import MINUTE_MS, day_start_ms
from ovx_lite.domain.models import Campaign, ClientInfo, Event, EventType, PageUrl, Person, Site, TrafficSource
from ovx_lite.enrichment.traffic_source import classify_source

_T = TypeVar("_T")


class Shape(NamedTuple):
    """How much traffic there is, and how varied it is.

    `visits_per_day` is the average over a year. `pages`, `referrers`, `countries` and `browsers` are numbers of
    different values. `returning` is the share of visitors who come back on other days, `engaged` the share of page
    views with an engagement event, and `bots` the number of bots in proportion to visits.
    """

    visits_per_day: int = 250
    pages: int = 60
    referrers: int = 40
    countries: int = 25
    browsers: int = 6
    returning: float = 0.1
    engaged: float = 0.5
    bots: float = 0.03


SMALL = Shape()
LARGE = Shape(6849, 2000, 800, 120, 12, returning=0.3, engaged=0, bots=0)
"""2.5 million visits and 10 million events a year."""

_PAGEVIEW = EventType("apex", "pageview", "pageview", "")
_BOT = EventType("apex", "pageview", "pageview", "bot")
_ENGAGEMENT = EventType("apex", "event", "engagement", "")
_CRAWLERS = [ClientInfo(name, "", "", "US") for name in ("Googlebot", "bingbot", "GPTBot")]

# Values to choose from, the most popular first, see `_pick`.
_PATHS = """
/ /pricing /blog/why-we-host-it-ourselves /docs/ /signup /docs/install /blog/a-year-of-numbers /features /docs/api
/blog/cookies-are-over /checkout/thanks /changelog /docs/events /about /blog/one-file-is-enough /docs/goals /customers
/docs/webhooks /blog/version-2 /contact /docs/faq /blog/hiring /security /privacy
"""
_ENTRY_PREFIXES = ("/blog/", "/articles/", "/docs/")  # visits begin on these pages, and on the home page
# After the question mark: source, medium, campaign, content and term.
_REFERRERS = """
www.google.com/ news.ycombinator.com/item www.bing.com/ www.reddit.com/r/selfhosted/ duckduckgo.com/ chatgpt.com/
?newsletter,email,product-news,header t.co/ www.google.com/?google,cpc,brand,headline-a,web-analytics
github.com/topics/analytics www.linkedin.com/ ?newsletter,email,product-news,footer www.perplexity.ai/ lobste.rs/
?partner,referral,integrations www.google.com/?google,cpc,generic,headline-b,visitor-counter www.youtube.com/
m.facebook.com/?facebook,paid_social,launch,video mail.google.com/?newsletter,email,tips,header claude.ai/ bsky.app/
"""
_CLIENTS = """
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

_HOUR_WEIGHTS = (8, 5, 4, 3, 3, 4, 8, 18, 40, 60, 66, 64, 52, 56, 66, 66, 60, 50, 42, 38, 38, 34, 24, 14)
_WEEKDAY_FACTORS = (1.12, 1.16, 1.15, 1.12, 1.03, 0.69, 0.73)  # from Monday; 1 on average
_GROWTH_START_DAY = 20697  # 2026-09-01
_SPIKE_INTERVAL_DAYS = 73  # five in a year
_SECOND_VISIT_SHARE = 0.12  # of a day's visitors
_PAGEVIEWS_PER_VISIT = (
    [1] * 45 + [2] * 16 + [3] * 10 + [4] * 7 + [5] * 6 + [6] * 4 + [8] * 4 + [10] * 3 + [16] * 3 + [22] * 2
)
_GIVEN_NAMES = ("Ada", "Bruno", "Chidi", "Dana", "Emil", "Fatima", "Goran", "Hana", "Ines", "Jonas", "Keiko")
_FAMILY_NAMES = ("Abel", "Berg", "Costa", "Dubois", "Endo", "Fischer", "Garcia", "Haddad", "Ivanova", "Jensen")


class _Action(NamedTuple):
    """An event that follows a pageview. `props` is a JSON object as text."""

    kind: EventType
    props: str
    revenue_minor: int | None = None


_SIGN_UP, _SEARCH, _DOWNLOAD, _OUTBOUND = (
    EventType("apex", "event", name, "") for name in ("signup", "search", "download", "outbound")
)
_CLICKS = [
    _Action(_OUTBOUND, '{"url":"https://github.com/example/example"}'),
    _Action(_DOWNLOAD, '{"file":"example-2.1.tar.gz"}'),
    *(_Action(_SEARCH, f'{{"words":"{query}"}}') for query in ("install", "backup", "export", "import logs", "price")),
]
_SIGN_UPS = [
    _Action(_SIGN_UP, f'{{"plan":"{plan}","source_page":"{path}"}}')
    for plan, path in (("free", "/pricing"), ("pro", "/pricing"), ("free", "/"), ("free", "/docs/"), ("pro", "/"))
]
_SALES = [
    _Action(purchase, f'{{"plan":"{plan}","seats":{seats}}}', price_minor * factor * seats)
    for currency, price_minor in (("EUR", 1900), ("USD", 2100), ("JPY", 3200))
    for purchase in [EventType("openanalytics", "conversion", "purchase", "", "", currency)]
    for seats in (1, 2, 5, 10, 25)
    for plan, factor in (("pro", 1), ("team", 3))
]
# The probability that a view of a page is followed by an action, and the actions.
_ACTIONS = {"/checkout/thanks": (0.9, _SALES), "/signup": (0.4, _SIGN_UPS)}

_Visitor = tuple[tuple[ClientInfo, int, int], Person | None]
"""Client, visitor id and daily visitor id; and the person, if the site knows who it is."""

_Arrival = tuple[int, TrafficSource]
"""The index of the entry page, and the traffic source."""


class _Catalog(NamedTuple):
    """All values to choose from. They are built once, so that equal values are the same object.

    `actions` has the probability and the actions of each page; `entry_pages` are indexes of pages; `internal` are the
    first pages as referrers; `clients` has a list for each country.
    """

    shape: Shape
    pages: list[PageUrl]
    actions: list[tuple[float, list[_Action]]]
    entry_pages: list[int]
    direct: TrafficSource
    sources: list[TrafficSource]
    internal: list[TrafficSource]
    clients: list[list[ClientInfo]]


def generate_day(site: Site, seed: int, day: int, shape: Shape) -> list[Event]:
    """Return the events of a site on a day (days since 1970-01-01 in its time zone), ordered by time.

    The same arguments give the same events. On some days there is a spike: many visits from one source to one page.
    """
    random = Random(f"{seed} {day}")  # noqa: S311 - reproducible on purpose
    draw = random.random
    catalog = _catalog(site.domain, shape)
    start_ms, end_ms = day_start_ms(day, site.timezone), day_start_ms(day + 1, site.timezone)
    interval = day // _SPIKE_INTERVAL_DAYS
    spike_day = Random(f"{seed} spike {interval}").randrange(_SPIKE_INTERVAL_DAYS)  # noqa: S311 - as above
    is_spike_day = day % _SPIKE_INTERVAL_DAYS == spike_day
    extra = random.uniform(0.8, 1.6) if is_spike_day else 0.0  # visits, in proportion to the usual ones
    spike_arrival = _pick(catalog.entry_pages, draw()), _pick(catalog.sources, draw())
    visits = shape.visits_per_day * _day_factor(day) * random.uniform(0.92, 1.08) * (1 + extra)
    day_ms = end_ms - start_ms
    events = [
        Event(start_ms + int(draw() * day_ms), day, _BOT, _pick(catalog.pages, draw()), catalog.direct, client)
        for client in random.choices(_CRAWLERS, k=round(visits * shape.bots))
    ]
    visitors = round(visits / (1 + _SECOND_VISIT_SHARE))
    hours = random.choices(range(24), _HOUR_WEIGHTS, k=visitors)
    for hour, member in zip_longest(hours, _returning_members(random, day, shape, visitors)):
        visitor = _visitor(catalog, random, seed, day, member)
        first_ms = start_ms + int((hour + draw()) / 24 * day_ms)
        arrival = spike_arrival if draw() < extra / (1 + extra) else _arrival(catalog, random)
        visit = _visit(catalog, random, day, visitor, first_ms, arrival)
        events += visit
        if draw() < _SECOND_VISIT_SHARE:
            second_ms = visit[-1].timestamp_ms + 31 * MINUTE_MS + int(draw() * 240 * MINUTE_MS)
            events += _visit(catalog, random, day, visitor, second_ms, _arrival(catalog, random))
    return sorted(
        (event for event in events if event.timestamp_ms < end_ms), key=attrgetter("timestamp_ms")
    )  # visits end at midnight


def _visit(
    catalog: _Catalog, random: Random, day: int, visitor: _Visitor, start_ms: int, arrival: _Arrival
) -> list[Event]:
    """Return the events of a visit. A visitor who is a person logs in after the first page."""
    draw, page_indexes, events = random.random, range(len(catalog.pages)), []
    identity, person = visitor
    index, source = arrival
    ts, logged_in = start_ms, None
    for _ in range(_PAGEVIEWS_PER_VISIT[int(draw() * len(_PAGEVIEWS_PER_VISIT))]):
        page = catalog.pages[index]
        events.append(Event(ts, day, _PAGEVIEW, page, source, *identity, None, None, logged_in))
        view_ms = 4_000 + int(draw() ** 4 * 8 * MINUTE_MS)
        probability, actions = catalog.actions[index]
        if draw() < probability:
            kind, props, revenue = _pick(actions, draw())
            action = Event(ts + view_ms // 2, day, kind, page, source, *identity, None, props, logged_in, revenue)
            events.append(action)
        ts += view_ms
        if draw() < catalog.shape.engaged:
            props = f'{{"ms":{int(view_ms * (1 + draw()) / 2)},"scroll":{min(100, int(draw() * 130))}}}'
            events.append(Event(ts, day, _ENGAGEMENT, page, source, *identity, None, props, logged_in))
        # A browser would send the previous page as the referrer. Most servers only know how the visit began.
        source = catalog.internal[index] if index < len(catalog.internal) and draw() < 0.25 else arrival[1]
        index = _pick(page_indexes, draw())
        logged_in = person
    return events


def _arrival(catalog: _Catalog, random: Random) -> _Arrival:
    source = catalog.direct if random.random() < 1 / 3 else _pick(catalog.sources, random.random())
    return _pick(catalog.entry_pages, random.random()), source


def _visitor(catalog: _Catalog, random: Random, seed: int, day: int, member: int | None) -> _Visitor:
    """Return a new visitor, or the returning one with this number. Every second returning visitor is a person."""
    visitor_id = random.getrandbits(48) - (1 << 47) if member is None else _scramble(seed, member, 48)
    for_country, for_client = (visitor_id >> 32 & 0xFFFF) / 0x10000, (visitor_id >> 16 & 0xFFFF) / 0x10000
    client = _pick(_pick(catalog.clients, for_country), for_client)
    identity = client, visitor_id, visitor_id if member is None else visitor_id ^ day
    if member is None or member % 2:
        return identity, None
    given_name, family_name = (names[member // 2 % len(names)] for names in (_GIVEN_NAMES, _FAMILY_NAMES))
    traits = {"name": f"{given_name} {family_name}", "email": f"user{member}@example.com"}
    return identity, Person(_scramble(seed, member, 63), f"user-{member}", traits)


def _returning_members(random: Random, day: int, shape: Shape, visitors: int) -> list[int]:
    """Return the numbers of the returning visitors of a day. New ones join every day, and come less and less often."""
    per_day = shape.visits_per_day * shape.returning
    newest, decay = day * (int(per_day / 8) + 1), 1 / (per_day * 5 + 1)
    members = (newest - int(random.expovariate(decay)) for _ in range(round(visitors * shape.returning)))
    return list(dict.fromkeys(members))


def _scramble(seed: int, member: int, bits: int) -> int:
    """Return a signed integer of so many bits that looks random. It is unique, as the factor of `member` is odd."""
    return (member * 0x9E3779B97F4A7C15 + seed * 0xD1B54A32D192ED03) % (1 << bits) - (1 << bits - 1)


def _day_factor(day: int) -> float:
    """Return the visits of a day in proportion to the average: few at weekends, growing for 300 days of each year."""
    days = (day - _GROWTH_START_DAY) % 365
    growth = days / 300 if days < 300 else (365 - days) / 65
    return _WEEKDAY_FACTORS[(day + 3) % 7] * (0.88 + 0.24 * growth)


def _pick(values: Sequence[_T], number: float) -> _T:
    """Pick a value by a number from 0 to 1: the first most often, the second half as often, the third a third."""
    return values[int((len(values) + 1) ** number) - 1]


@lru_cache(maxsize=8)
def _catalog(domain: str, shape: Shape) -> _Catalog:
    """Return the values for a site with this domain; with `""`, for example.com."""
    host = domain or "example.com"
    paths = [*_PATHS.split(), *(f"/articles/{number}" for number in range(1, shape.pages))][: shape.pages]
    referrers = [*_REFERRERS.split(), *(f"site-{number}.example/" for number in range(1, shape.referrers))]
    parts = [referrer.partition("?") for referrer in referrers[: shape.referrers]]
    setups = [setup.strip().rsplit(" ", 2) for setup in _CLIENTS.split(",")]
    browsers = list(dict.fromkeys(browser for browser, _, _ in setups))[: shape.browsers]
    clients = [ClientInfo(browser, system, device, "") for browser, system, device in setups if browser in browsers]
    return _Catalog(
        shape=shape,
        pages=[PageUrl("https", host, path) for path in paths],
        actions=[_ACTIONS.get(path, (0.15, _CLICKS)) for path in paths],
        entry_pages=[index for index, path in enumerate(paths) if path == "/" or path.startswith(_ENTRY_PREFIXES)],
        direct=classify_source("", Campaign(), host, domain),
        sources=[
            classify_source(referrer, Campaign(*campaign.split(",")), host, domain) for referrer, _, campaign in parts
        ],
        internal=[classify_source(f"{host}{path}", Campaign(), host, domain) for path in paths[:100]],
        clients=[
            [client._replace(country=country) for client in clients]
            for country in _COUNTRIES.split()[: shape.countries]
        ],
    )
