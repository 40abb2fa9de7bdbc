"""Random events and operations of a site: see `tests/support/traffic.py`."""

import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

from ovx_lite.domain.calendar import DAY_MS, HOUR_MS, MINUTE_MS
from ovx_lite.domain.models import Campaign, Hit, Identity, PageUrl
from tests.conftest import CHROME
from tests.support.visitors import GOOGLEBOT

# Time zones and the days on which their clocks change, some of them at midnight.
CLOCK_CHANGES = [
    ("UTC", "2025-03-30"),
    ("Europe/Paris", "2025-03-30"),
    ("Europe/Paris", "2025-10-26"),
    ("America/New_York", "2025-11-02"),
    ("Asia/Kathmandu", "2025-06-01"),
    ("Australia/Lord_Howe", "2025-04-06"),
    ("America/Havana", "2025-11-02"),
    ("America/Santiago", "2025-04-06"),
]
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"  # noqa: E501
PAGES = [
    *(PageUrl("https", "example.com", path) for path in ("/", "/blog/a", "/blog/A", "/blog/a/b")),
    *(
        PageUrl("https", "b.example", "/blog/a"),
        PageUrl("app", "shop", ""),
        PageUrl("", "", "/'); --\"ü"),
        PageUrl("", "", ""),
    ),
]
REFERRALS = [
    *(("", Campaign()), ("", Campaign()), ("www.google.com/", Campaign()), ("news.example/x", Campaign())),
    ("www.google.com/", Campaign("Newsletter", "email", "Spring", "a'b", 'ü."')),
    ("", Campaign("fb", "cpc")),
]
EVENT_NAMES = ["signup", "purchase", "engagement", "pageview", "'); --"]
GOALS = [("Signup", "signup", ""), ("Posts", "", "/blog/*"), ("'); --", "engagement", ""), ("All", "", "/**")]
PROP_KEYS = ["plan", "__proto__", "');--", 'a"b', "a.b", "ü", "\\", ""]
PROP_VALUES = ["pro", "Pro", "7", 7, -3, True, False, "true", "", "ü'\"", None]


class Identifiers(NamedTuple):
    """What identifies a visitor: the caller's ids, or address and user agent."""

    device: str = ""
    session: str = ""
    person: str = ""
    address: str = ""
    user_agent: str = ""


IDENTIFIERS = st.builds(
    Identifiers,
    *(st.sampled_from(choices) for choices in (["", "d", "d", "e"], ["", "", "", "s"], ["", "", "ada", "bob"])),
    *(st.sampled_from(choices) for choices in (["", "203.0.113.1", "198.51.100.7"], ["", CHROME, IPHONE, GOOGLEBOT])),
)
ANCHORS_MS = st.sampled_from([-DAY_MS, 0, 0, 2 * HOUR_MS, DAY_MS])  # from the midnight of the clock change
EVENT_OFFSETS_MS = st.builds(
    sum,
    st.tuples(ANCHORS_MS, st.integers(-20, 20).map(lambda n: n * 3 * MINUTE_MS), st.sampled_from([0, 0, 1, 59_999])),
)
PROPS_OBJECTS = st.dictionaries(st.sampled_from(PROP_KEYS), st.sampled_from(PROP_VALUES), max_size=3)
REVENUES = st.sampled_from([(None, ""), (None, ""), (4999, "EUR"), (-1000, "EUR"), (500, "JPY"), (1, "USD")])


class DrawnHit(NamedTuple):
    """A random hit; its offset is relative to the midnight of the day of the clock change."""

    action: str
    identifiers: Identifiers
    offset_ms: int
    page: PageUrl
    referral: tuple[str, Campaign]
    props: dict[str, Any]
    revenue: tuple[int | None, str]

    def hit(self, midnight_ms: int) -> Hit:
        type = "pageview" if self.action == "view" else "event"
        name = {"view": "pageview", "look": "engagement"}.get(self.action, self.action)
        props = json.dumps(self.props) if self.props and self.action != "view" else None
        device, session, person, address, user_agent = self.identifiers
        identity = Identity(person) if person else None
        fields = (
            self.page,
            self.referral[1],
            self.referral[0],
            address,
            user_agent,
            props,
            device,
            session,
            identity,
            "",
        )
        return Hit(
            type,
            name,
            midnight_ms + self.offset_ms,
            *fields,
            *(self.revenue if self.action == "purchase" else (None, "")),
        )


ACTIONS = st.sampled_from(["view", "view", "view", "look", "look", "purchase", *EVENT_NAMES])
ENGAGEMENT_PROPS = st.fixed_dictionaries({"ms": st.integers(0, 90_000), "scroll": st.integers(0, 100)})
HITS = ACTIONS.flatmap(
    lambda action: st.builds(
        DrawnHit,
        *(st.just(action), IDENTIFIERS, EVENT_OFFSETS_MS, st.sampled_from(PAGES), st.sampled_from(REFERRALS)),
        *(ENGAGEMENT_PROPS if action == "look" else PROPS_OBJECTS, REVENUES),
    )
)
OPERATIONS = st.one_of(
    *[st.tuples(st.just("store"), st.lists(HITS, min_size=8, max_size=20))] * 3,
    st.tuples(st.sampled_from(["restart", "midnight", "catch up", "goal"]), st.none()),
    st.tuples(st.just("erase"), st.sampled_from(["ada", "bob"])),
    st.tuples(st.just("prune"), st.integers(-1, 1)),
)
