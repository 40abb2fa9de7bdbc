"""Filters as SQL conditions over events `e` and their visits `v`.

A condition is evaluated on the lookup tables, and events are then filtered by the IDs of the matching rows. So a
regular expression is matched against each path once, however often the page was viewed.
"""

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import msgspec

from ovx_lite.domain.errors import ApiError
from ovx_lite.domain.goal_patterns import GoalMatcher
from ovx_lite.stats.filters import PROPS_PREFIX, AllOf, Condition, Filter, Not, conditions, value_matcher
from ovx_lite.storage.projection.dimension_keys import event_type_bit, page_bit
from ovx_lite.storage.webhooks.goals import goals_of

LOOKUP_COLUMNS = {
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
"""The lookup table and column that hold the values of a dimension, and the column that refers to the table."""

PROP_VALUE = "CASE {0}.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST({0}.value AS TEXT) END"
"""The value of a property as text. The placeholder is the alias of a `json_each(props)`."""

_BLOOM_DIMENSIONS = ("event:page", "event:hostname", "event:name")
_MAX_LITERAL_IDS = 2  # SQLite compares a column with so few numbers directly, and looks up more in a temporary B-tree
_MAX_BLOOM_IDS = 20  # with more, too many visits pass for `page_type_bloom` to help


class FilterSql:
    """Builds the SQL conditions of one query. `values` are the query's named parameters."""

    def __init__(self, conn: sqlite3.Connection, site_id: int) -> None:
        self.conn = conn
        self._site_id = site_id
        self.values: dict[str, object] = {}
        self._ids_by_condition: dict[Condition, Sequence[int]] = {}

    def bind(self, value: object) -> str:
        """Add a parameter for a value, and return its placeholder."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f":{name}"

    def in_ids(self, ids: Iterable[int]) -> str:
        """Return the SQL `IN (…)` for these IDs, to be put after a column."""
        id_list = list(ids)
        if 0 < len(id_list) <= _MAX_LITERAL_IDS:
            return f"IN ({', '.join(map(str, id_list))})"
        return f"IN (SELECT value FROM json_each({self.bind(msgspec.json.encode(id_list).decode())}))"

    def all_of(self, filters: Iterable[Filter], page_id: str = "e.page_id") -> str:
        """Return the SQL condition that all filters are true. Raises `ApiError` if a filter names an unknown goal.

        `page_id` is the SQL of the page that conditions on pages apply to.
        """
        return " AND ".join(self._node(node, page_id) for node in filters) or "1"

    def _node(self, node: Filter, page_id: str) -> str:
        if isinstance(node, Condition):
            return self._condition(node, page_id)
        if isinstance(node, Not):
            return f"NOT {self._node(node.inner, page_id)}"
        operator = " AND " if isinstance(node, AllOf) else " OR "
        return f"({operator.join(self._node(inner, page_id) for inner in node.inner)})"

    def _condition(self, condition: Condition, page_id: str) -> str:
        negation = "NOT " if condition.negated else ""
        if condition.dimension == "event:goal":
            return f"({negation}({self._any_goal(condition.values)}))"
        if condition.dimension.startswith(PROPS_PREFIX):
            return f"({negation}{self._prop_condition(condition)})"
        _, _, column = LOOKUP_COLUMNS[condition.dimension]
        column = page_id if column == "e.page_id" else column
        sql = f"{negation}coalesce({column}, 0) {self.in_ids(self._matching_ids(condition))}"
        # The visit of an event without one is unknown: it passes neither a condition on visits nor its negation.
        return f"iif(v.id IS NULL, NULL, {sql})" if condition.dimension.startswith("visit:") else f"({sql})"

    def _matching_ids(self, condition: Condition) -> Sequence[int]:
        """Return the IDs of the rows that match a condition, before negation."""
        if condition not in self._ids_by_condition:
            self._ids_by_condition[condition] = array("q", self._find_ids(condition))
        return self._ids_by_condition[condition]

    def _find_ids(self, condition: Condition) -> Iterator[int]:
        table, column, _ = LOOKUP_COLUMNS[condition.dimension]
        matches = value_matcher(condition)
        if condition.operator == "is" and not condition.ignore_case:
            query = f"SELECT id FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))"
            for (id,) in self.conn.execute(query, (msgspec.json.encode(list(condition.values)).decode(),)):
                yield id
        else:
            cached_matches = lru_cache(1024)(matches)  # many rows have the same value
            for id, value in self.conn.execute(f"SELECT id, {column} FROM {table}"):
                if cached_matches(value):
                    yield id
        if matches(""):
            yield 0  # `_condition` uses this ID for visits without an entry or exit page

    def _any_goal(self, names: Iterable[str]) -> str:
        """Return the SQL condition that an event reaches one of these goals."""
        goals_by_name = {goal.name: goal for goal in goals_of(self.conn, self._site_id)}
        unknown_name = next((name for name in names if name not in goals_by_name), None)
        if unknown_name is not None:
            goal_names = ", ".join(goals_by_name)
            hint = f"Its goals are {goal_names}." if goal_names else "It has no goals yet: add one first."
            raise ApiError("invalid_request", f"The site has no goal {unknown_name[:100]}. {hint}", "filters")
        selected = [goals_by_name[name] for name in names]
        query = "SELECT id FROM event_types WHERE type <> 'pageview' AND name IN (SELECT value FROM json_each(?))"
        event_names = msgspec.json.encode([goal.event_name for goal in selected if goal.event_name]).decode()
        conditions = [f"e.event_type_id {self.in_ids(id for (id,) in self.conn.execute(query, (event_names,)))}"]
        if any(goal.path_pattern for goal in selected):
            pages = self.in_ids(self._goal_page_ids(GoalMatcher(selected)))
            conditions.append(f"(e.event_type_id {self._is_pageview_type()} AND e.page_id {pages})")
        return " OR ".join(conditions)

    def _goal_page_ids(self, goal_matcher: GoalMatcher) -> list[int]:
        """Return the IDs of the pages whose pageviews reach one of the goals."""
        rows = self.conn.execute("SELECT id, path FROM pages")
        return [id for id, path in rows if goal_matcher.match("pageview", "pageview", path)]

    def _is_pageview_type(self) -> str:
        return self.in_ids(id for (id,) in self.conn.execute("SELECT id FROM event_types WHERE type = 'pageview'"))

    def _prop_condition(self, condition: Condition) -> str:
        name = self.bind(condition.dimension.removeprefix(PROPS_PREFIX))
        exists_sql = f"SELECT 1 FROM json_each(e.props) AS prop WHERE prop.key = {name}"
        if condition.operator == "is" and not condition.ignore_case:
            values: Iterable[str] = condition.values
        else:
            text = PROP_VALUE.format("prop")
            query = f"SELECT DISTINCT {text} FROM events, json_each(props) AS prop WHERE site_id = ? AND prop.key = ?"
            rows = self.conn.execute(query, (self._site_id, condition.dimension.removeprefix(PROPS_PREFIX)))
            matches = value_matcher(condition)
            values = [value for (value,) in rows if value is not None and matches(value)]
        values_param = self.bind(msgspec.json.encode(list(values)).decode())
        return f"EXISTS ({exists_sql} AND {PROP_VALUE.format('prop')} IN (SELECT value FROM json_each({values_param})))"

    def bloom_condition(self, filters: Iterable[Filter], event_type_condition: str = "") -> str:
        """Return a fast SQL condition that is true for every visit with matching events, and for some others.

        It uses the Bloom filters of visits (`page_type_bloom`), and is `1` if they cannot help. The SQL
        `event_type_condition`, if there is one, restricts the event types that can match.
        """
        masks = [
            self._bloom_mask(condition)
            for condition in filters
            if isinstance(condition, Condition) and not condition.negated
        ]
        if event_type_condition:
            rows = self.conn.execute(f"SELECT id FROM event_types WHERE {event_type_condition}")
            masks.append(_combine(event_type_bit(id) for (id,) in rows))
        conditions = [
            f"(v.id IS NULL OR v.page_type_bloom & {self.bind(mask)} <> 0)" for mask in masks if mask is not None
        ]
        return " AND ".join(conditions) or "1"

    def _bloom_mask(self, condition: Condition) -> int | None:
        """Return bits of which `page_type_bloom` has at least one if an event of the visit matches.

        None if the condition is not about pages or event types, or matches too many of them.
        """
        if condition.dimension == "event:goal":
            selected = [goal for goal in goals_of(self.conn, self._site_id) if goal.name in condition.values]
            names = tuple(goal.event_name for goal in selected if goal.event_name)
            if any(goal.path_pattern for goal in selected):
                return None
            condition = Condition("event:name", "is", names)
        if condition.dimension not in _BLOOM_DIMENSIONS:
            return None
        ids = self._matching_ids(condition)
        bit_for = event_type_bit if condition.dimension == "event:name" else page_bit
        return None if len(ids) > _MAX_BLOOM_IDS or 0 in ids else _combine(map(bit_for, ids))


def _combine(bits: Iterable[int]) -> int:
    mask = 0
    for bit in bits:
        mask |= bit
    return mask


def are_about_visits(filters: Iterable[Filter]) -> bool:
    """Return whether all conditions are on dimensions of visits."""
    return all(condition.dimension.startswith("visit:") for condition in conditions(tuple(filters)))


def are_about_pages(filters: Iterable[Filter]) -> bool:
    """Return whether all conditions are on the pages of events, or on dimensions of visits."""
    return all(
        condition.dimension in ("event:page", "event:hostname") or condition.dimension.startswith("visit:")
        for condition in conditions(tuple(filters))
    )


def needs_visit(filters: Iterable[Filter]) -> bool:
    """Return whether only events with a visit can pass: a top-level condition is on a dimension of visits."""
    return any(isinstance(node, Condition) and node.dimension.startswith("visit:") for node in filters)
