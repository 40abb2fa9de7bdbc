"""Filters as SQL, over events `e` and the visits `v` that they are in.

Words are looked for where they stand once, and then their numbers in the events: so a regular expression reads each
path once, however often it was viewed.
"""

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import msgspec

from ovx_lite.domain.errors import Refused
from ovx_lite.domain.goal_patterns import Goals
from ovx_lite.stats.filters import PROPS, All, Filter, Not, Test, passes, tests
from ovx_lite.storage.webhooks.goals import goals_of
from ovx_lite.storage.write.visit_cache import bit_of_kind, bit_of_page

COLUMNS = {
    "event:page": ("pages", "path", "e.page_id"),
    "event:hostname": ("pages", "host", "e.page_id"),
    "event:name": ("event_types", "name", "e.event_type_id"),
    "event:currency": ("event_types", "currency", "e.event_type_id"),
    "visit:entry_page": ("pages", "path", "v.entry_page_id"),
    "visit:exit_page": ("pages", "path", "v.exit_page_id"),
    **{
        f"visit:{column}": ("traffic_sources", column, "v.traffic_source_id")
        for column in ("referrer", "source", "channel", "utm_source", "utm_medium", "utm_campaign")
    },
    "visit:utm_content": ("traffic_sources", "utm_content", "v.traffic_source_id"),
    "visit:utm_term": ("traffic_sources", "utm_term", "v.traffic_source_id"),
    **{f"visit:{column}": ("clients", column, "v.client_id") for column in ("device", "browser", "os", "country")},
}
"""Where the words of a dimension stand, and what has their number."""

PROP = "CASE {0}.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST({0}.value AS TEXT) END"
"""A property's value as text, of a `json_each(props)` of that name."""

_SEEN = ("event:page", "event:hostname", "event:name")
_FEW = 20  # words for which it is worth to look at `page_type_bloom` first


class Matching:
    """Makes SQL of the filters of one query. What it binds is in `values`, under names."""

    def __init__(self, conn: sqlite3.Connection, site: int) -> None:
        self.conn = conn
        self._site = site
        self.values: dict[str, object] = {}
        self._known: dict[Test, Sequence[int]] = {}

    def bind(self, value: object) -> str:
        """A name for a value, to stand in the SQL."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f":{name}"

    def among(self, numbers: Iterable[int]) -> str:
        """What follows a column that is one of these numbers."""
        return f"IN (SELECT value FROM json_each({self.bind(msgspec.json.encode(list(numbers)).decode())}))"

    def all(self, filters: Iterable[Filter]) -> str:
        """Whether all filters are so. Raises `Refused`."""
        return " AND ".join(self._filter(one) for one in filters) or "1"

    def _filter(self, one: Filter) -> str:
        if isinstance(one, Test):
            return self._test(one)
        if isinstance(one, Not):
            return f"NOT {self._filter(one.inner)}"
        between = " AND " if isinstance(one, All) else " OR "
        return f"({between.join(self._filter(inner) for inner in one.inner)})"

    def _test(self, test: Test) -> str:
        negation = "NOT " if test.negated else ""
        if test.dimension == "event:goal":
            return f"({negation}({self._goals(test.values)}))"
        if test.dimension.startswith(PROPS):
            return f"({negation}{self._prop(test)})"
        _, _, column = COLUMNS[test.dimension]
        condition = f"{negation}coalesce({column}, 0) {self.among(self._codes(test))}"
        # Of what is in no visit nobody can tell: it passes neither a test of a visit nor the contrary.
        return f"iif(v.id IS NULL, NULL, {condition})" if column.startswith("v.") else f"({condition})"

    def _codes(self, test: Test) -> Sequence[int]:
        """The numbers of what passes a test, whether it is negated or not."""
        if test not in self._known:
            self._known[test] = array("q", self._look_up(test))
        return self._known[test]

    def _look_up(self, test: Test) -> Iterator[int]:
        table, column, _ = COLUMNS[test.dimension]
        fits = passes(test)
        if test.operator == "is" and not test.folded:
            query = f"SELECT id FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))"
            for (id,) in self.conn.execute(query, (msgspec.json.encode(list(test.values)).decode(),)):
                yield id
        else:
            remembered = lru_cache(1024)(fits)  # many rows have the same word
            for id, word in self.conn.execute(f"SELECT id, {column} FROM {table}"):
                if remembered(word):
                    yield id
        if fits(""):
            yield 0  # what has no page at all has this number

    def _goals(self, names: Iterable[str]) -> str:
        """Whether an event meets one of these goals."""
        known = {goal.name: goal for goal in goals_of(self.conn, self._site)}
        unknown = next((name for name in names if name not in known), None)
        if unknown is not None:
            has = f": it has {', '.join(known)}" if known else ", and no other"
            raise Refused("invalid_request", f"This site has no goal {unknown[:100]}{has}.", "filters")
        wanted = [known[name] for name in names]
        query = "SELECT id FROM event_types WHERE type <> 'pageview' AND name IN (SELECT value FROM json_each(?))"
        events = msgspec.json.encode([goal.event for goal in wanted if goal.event]).decode()
        conditions = [f"e.event_type_id {self.among(id for (id,) in self.conn.execute(query, (events,)))}"]
        if any(goal.path for goal in wanted):
            pages = self.among(self._pages(Goals(wanted)))
            conditions.append(f"(e.event_type_id {self._views()} AND e.page_id {pages})")
        return " OR ".join(conditions)

    def _pages(self, ready: Goals) -> list[int]:
        """The pages whose views meet goals."""
        rows = self.conn.execute("SELECT id, path FROM pages")
        return [id for id, path in rows if ready.of("pageview", "pageview", path)]

    def _views(self) -> str:
        return self.among(id for (id,) in self.conn.execute("SELECT id FROM event_types WHERE type = 'pageview'"))

    def _prop(self, test: Test) -> str:
        name = self.bind(test.dimension.removeprefix(PROPS))
        has = f"SELECT 1 FROM json_each(e.props) AS prop WHERE prop.key = {name}"
        if test.operator == "is" and not test.folded:
            words: Iterable[str] = test.values
        else:
            text = PROP.format("prop")
            query = f"SELECT DISTINCT {text} FROM events, json_each(props) AS prop WHERE site_id = ? AND prop.key = ?"
            fits, rows = passes(test), self.conn.execute(query, (self._site, test.dimension.removeprefix(PROPS)))
            words = [word for (word,) in rows if word is not None and fits(word)]
        listed = self.bind(msgspec.json.encode(list(words)).decode())
        return f"EXISTS ({has} AND {PROP.format('prop')} IN (SELECT value FROM json_each({listed})))"

    def seen(self, filters: Iterable[Filter], kinds: str = "") -> str:
        """What visits with such events have seen, as a condition that is quick to look at and passes some others.

        `kinds` is a condition on `event_types` (SQL) that these events meet. `1` is all that can be said.
        """
        masks = [self._mask(test) for test in filters if isinstance(test, Test) and not test.negated]
        if kinds:
            rows = self.conn.execute(f"SELECT id FROM event_types WHERE {kinds}")
            masks.append(_all_of(bit_of_kind(id) for (id,) in rows))
        conditions = [
            f"(v.id IS NULL OR v.page_type_bloom & {self.bind(mask)} <> 0)" for mask in masks if mask is not None
        ]
        return " AND ".join(conditions) or "1"

    def _mask(self, test: Test) -> int | None:
        """The bits of which `page_type_bloom` has one if events of the visit pass a test; None if it helps nothing."""
        if test.dimension == "event:goal":
            wanted = [goal for goal in goals_of(self.conn, self._site) if goal.name in test.values]
            names = tuple(goal.event for goal in wanted if goal.event)
            if any(goal.path for goal in wanted):
                return None
            test = Test("event:name", "is", names)
        if test.dimension not in _SEEN:
            return None
        codes = self._codes(test)
        bit_of = bit_of_kind if test.dimension == "event:name" else bit_of_page
        return None if len(codes) > _FEW or 0 in codes else _all_of(map(bit_of, codes))


def _all_of(bits: Iterable[int]) -> int:
    mask = 0
    for bit in bits:
        mask |= bit
    return mask


def of_visits(filters: Iterable[Filter]) -> bool:
    """Whether filters ask of visits alone."""
    return all(test.dimension.startswith("visit:") for test in tests(tuple(filters)))


def needs_visit(filters: Iterable[Filter]) -> bool:
    """Whether what passes filters is in a visit."""
    return any(isinstance(one, Test) and one.dimension.startswith("visit:") for one in filters)
