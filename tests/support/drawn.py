"""What a site is told and what else happens to it, drawn at random: see `tests/support/traffic.py`."""

import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

from ovx_lite.domain.models import Campaign, Hit, Identity, Page
from tests.conftest import CHROME
from tests.support.recount import HOUR, MINUTE
from tests.support.visitors import GOOGLEBOT

DAY = 24 * HOUR
# The time zones, and days on which their clocks change; in some at midnight.
CHANGES = [
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
    *(Page("https", "example.com", path) for path in ("/", "/blog/a", "/blog/A", "/blog/a/b")),
    *(Page("https", "b.example", "/blog/a"), Page("app", "shop", ""), Page("", "", "/'); --\"ü"), Page("", "", "")),
]
ORIGINS = [
    *(("", Campaign()), ("", Campaign()), ("www.google.com/", Campaign()), ("news.example/x", Campaign())),
    ("www.google.com/", Campaign("Newsletter", "email", "Spring", "a'b", 'ü."')),
    ("", Campaign("fb", "cpc")),
]
NAMES = ["signup", "purchase", "engagement", "pageview", "'); --"]
GOALS = [("Signup", "signup", ""), ("Posts", "", "/blog/*"), ("'); --", "engagement", ""), ("All", "", "/**")]
KEYS = ["plan", "__proto__", "');--", 'a"b', "a.b", "ü", "\\", ""]
PROPS = ["pro", "Pro", "7", 7, -3, True, False, "true", "", "ü'\"", None]


class Who(NamedTuple):
    """What tells one visitor from another: the names that the caller gave, or address and user agent."""

    device: str = ""
    session: str = ""
    person: str = ""
    address: str = ""
    user_agent: str = ""


WHO = st.builds(
    Who,
    *(st.sampled_from(words) for words in (["", "d", "d", "e"], ["", "", "", "s"], ["", "", "ada", "bob"])),
    *(st.sampled_from(words) for words in (["", "203.0.113.1", "198.51.100.7"], ["", CHROME, IPHONE, GOOGLEBOT])),
)
ANCHORS = st.sampled_from([-DAY, 0, 0, 2 * HOUR, DAY])  # from the midnight of the day of the change
TIMES_TOLD = st.builds(
    sum, st.tuples(ANCHORS, st.integers(-20, 20).map(lambda n: n * 3 * MINUTE), st.sampled_from([0, 0, 1, 59_999]))
)
PROPERTIES = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(PROPS), max_size=3)
MONEY = st.sampled_from([(None, ""), (None, ""), (4999, "EUR"), (-1000, "EUR"), (500, "JPY"), (1, "USD")])


class Told(NamedTuple):
    """A hit, as it is to be: at so many ms from the midnight of the day of the change."""

    what: str
    who: Who
    at: int
    page: Page
    origin: tuple[str, Campaign]
    props: dict[str, Any]
    money: tuple[int | None, str]

    def hit(self, midnight: int) -> Hit:
        type = "pageview" if self.what == "view" else "event"
        name = {"view": "pageview", "look": "engagement"}.get(self.what, self.what)
        props = json.dumps(self.props) if self.props and self.what != "view" else None
        device, session, person, address, agent = self.who
        whose = Identity(person) if person else None
        told = (self.page, self.origin[1], self.origin[0], address, agent, props, device, session, whose, "")
        return Hit(type, name, midnight + self.at, *told, *(self.money if self.what == "purchase" else (None, "")))


WHAT = st.sampled_from(["view", "view", "view", "look", "look", "purchase", *NAMES])
LOOKS = st.fixed_dictionaries({"ms": st.integers(0, 90_000), "scroll": st.integers(0, 100)})
HITS = WHAT.flatmap(
    lambda what: st.builds(
        Told,
        *(st.just(what), WHO, TIMES_TOLD, st.sampled_from(PAGES), st.sampled_from(ORIGINS)),
        *(LOOKS if what == "look" else PROPERTIES, MONEY),
    )
)
DONE = st.one_of(
    *[st.tuples(st.just("store"), st.lists(HITS, min_size=8, max_size=20))] * 3,
    st.tuples(st.sampled_from(["restart", "midnight", "catch up", "goal"]), st.none()),
    st.tuples(st.just("erase"), st.sampled_from(["ada", "bob"])),
    st.tuples(st.just("prune"), st.integers(-1, 1)),
)
