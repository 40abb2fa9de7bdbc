"""The template values of a dashboard's panels."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ovx_lite.domain import money
from ovx_lite.stats.filters import PROPS_PREFIX, Condition
from ovx_lite.storage.rollups.value_limit import OTHER
from ovx_lite.web.ui.dashboard.data import PEOPLE_DAYS
from ovx_lite.web.ui.dashboard.formatting import format_compact, group_thousands
from ovx_lite.web.ui.dashboard.presenters import DashboardView, build_panel, build_row, curl_command, top_list_rows
from ovx_lite.web.ui.dashboard.state import DIMENSION_NOUNS, PANEL_TABS, DashboardState

EXCEPT_PAGEVIEWS = Condition("event:name", "is", ("pageview",), True)
"""The events panel does not list pageviews."""

PANEL_TITLES = {"pages": "Pages", "sources": "Sources", "places": "Countries", "devices": "Devices"}


def panels_of(dashboard: DashboardView) -> list[dict[str, Any]]:
    """Return the panels in display order. Public links show neither people nor excluded events."""
    panels = [_top_list_panel(dashboard, panel_key) for panel_key in PANEL_TABS]
    panels += [_goals_panel(dashboard), _events_panel(dashboard), _revenue_panel(dashboard)]
    if not dashboard.location.is_public:
        panels += [_people_panel(dashboard), _excluded_panel(dashboard)]
    return panels


def _top_list_panel(dashboard: DashboardView, key: str) -> dict[str, Any]:
    state, path, dimension = dashboard.state, dashboard.location.path, dashboard.state.tab(key)
    top_list = dashboard.data.top_lists[key]
    tabs = [
        {
            "label": label,
            "href": f"{state.with_tab(key, tab_dimension).url(path)}#panel-{key}",
            "current": tab_dimension == dimension,
        }
        for tab_dimension, label in PANEL_TABS[key].items()
    ]
    noun, nouns = DIMENSION_NOUNS[dimension]
    more = state.url(f"{path}/top/{dimension.partition(':')[2]}") if top_list.total > len(top_list.rows) else ""
    return build_panel(
        dashboard,
        key,
        PANEL_TITLES[key],
        tabs=tabs if len(tabs) > 1 else [],
        column=noun,
        rows=top_list_rows(dashboard, dimension, top_list),
        more=more,
        more_label=f"All {top_list.total:,} {nouns}",
        curl=curl_command(dashboard, [dimension]),
        empty=f"No {nouns} in this period.",
    )


def _goals_panel(dashboard: DashboardView) -> dict[str, Any]:
    dimension, data = "event:goal", dashboard.data
    empty_text = "No goal was completed in this period."
    if not dashboard.goals:
        empty_text = "Goals show how many visitors complete an action, such as a sign-up."
        if not dashboard.location.is_public:
            empty_text += " Add one under Settings → Goals."
    total_visitors = (
        0 if any(condition.dimension == dimension for condition in dashboard.state.filters) else data.totals.visitors
    )
    return build_panel(
        dashboard,
        "goals",
        "Goals",
        column="Goal",
        rows=top_list_rows(dashboard, dimension, data.top_lists["goals"], total_visitors),
        curl=curl_command(dashboard, [dimension], ["visitors", "events", "conversion_rate"]) if dashboard.goals else "",
        empty=empty_text,
    )


def _events_panel(dashboard: DashboardView) -> dict[str, Any]:
    """Return the events panel. If the filters select one event, it shows one or two properties of that event."""
    state, data, path = dashboard.state, dashboard.data, dashboard.location.path
    if not data.selected_event or not data.prop_keys:
        rows = top_list_rows(dashboard, "event:name", data.top_lists["events"])
        return build_panel(
            dashboard,
            "events",
            "Events",
            column="Event",
            rows=rows,
            curl=curl_command(
                dashboard, ["event:name"], ["visitors", "events"], [] if data.selected_event else [EXCEPT_PAGEVIEWS]
            ),
            note="Select an event to see its properties." if rows and not data.selected_event else "",
            empty="No events other than pageviews in this period.",
        )
    chosen = [key for key in state.props or data.prop_keys[:1] if key in data.prop_keys]
    tabs = []
    for key in data.prop_keys:
        others = [other for other in chosen if other != key]
        props = tuple(others) if key in chosen and others else (*others[-1:], key)
        href = msgspec.structs.replace(state, props=props).url(path)
        tabs.append({"label": key[:60] or "(blank)", "href": f"{href}#panel-events", "current": key in chosen})
    max_events = data.prop_rows[0][2] if data.prop_rows else 0
    rows = [
        build_row(
            label=" · ".join(value or "(blank)" for value in values),
            number=events,
            max_number=max_events,
            href=_with_conditions(state, chosen, values).url(path) if all(chosen) else "",
            secondary=f"{format_compact(visitors)} {'visitor' if visitors == 1 else 'visitors'}",
        )
        for values, visitors, events in data.prop_rows
    ]
    return build_panel(
        dashboard,
        "events",
        f"Properties of {data.selected_event[:60]}",
        tabs=tabs,
        column=" · ".join(key or "(blank)" for key in chosen),
        unit="Events",
        rows=rows,
        curl=curl_command(dashboard, [PROPS_PREFIX + key for key in chosen], ["visitors", "events"], order_by="events"),
        note="Select a second property to combine them." if len(data.prop_keys) > 1 and len(chosen) < 2 else "",
        more=state.url(f"{path}/csv/events") if data.prop_rows_total > len(rows) else "",
        more_label=f"All {data.prop_rows_total:,} as CSV",
    )


def _with_conditions(state: DashboardState, keys: Sequence[str], values: Sequence[str]) -> DashboardState:
    """Return a state that also filters by these values of these properties."""
    for key, value in zip(keys, values, strict=True):
        state = state.with_condition(Condition(PROPS_PREFIX + key, "is", (value,)))
    return state


def _revenue_panel(dashboard: DashboardView) -> dict[str, Any]:
    state, revenue = dashboard.state, dashboard.data.revenue
    max_transactions = max((transactions for transactions, _ in revenue.values()), default=0)
    rows = [
        build_row(
            label="(no currency)" if currency == money.UNKNOWN_CURRENCY else currency,
            number=transactions,
            max_number=max_transactions,
            href=state.with_condition(Condition("event:currency", "is", (currency,))).url(dashboard.location.path),
            secondary=f"{transactions:,} × {_format_money(round(amount_minor / transactions), currency)}",
            value=_format_money(amount_minor, currency),
        )
        for currency, (transactions, amount_minor) in revenue.items()
    ]
    metrics = ["total_revenue", "average_revenue", "events"]
    command = curl_command(dashboard, ["event:currency"], metrics) if rows else ""
    return build_panel(
        dashboard,
        "revenue",
        "Revenue",
        column="Currency",
        unit="Total",
        rows=rows,
        curl=command,
        empty="No revenue in this period.",
    )


def _format_money(amount_minor: int, currency: str) -> str:
    return group_thousands(money.format_amount(amount_minor, currency))


def _people_panel(dashboard: DashboardView) -> dict[str, Any]:
    people, total = dashboard.data.persons
    settings = f"{dashboard.location.path}/settings/people"
    max_events = people[0][2] if people else 0
    rows = [
        build_row(id, events, max_events, f"{settings}/{person_id}" if person_id != OTHER else "")
        for person_id, id, events in people
    ]
    empty_text = (
        "Remove the filters to see people."
        if dashboard.state.filters
        else "No identified people in this period. They appear when events have a user ID."
    )
    return build_panel(
        dashboard,
        "people",
        "People",
        column="Person",
        unit="Events",
        rows=rows,
        more=settings if total > len(rows) else "",
        more_label=f"All people ({total:,} active)",
        note=f"Most active people, last {PEOPLE_DAYS} days"
        if rows and dashboard.data.date_range.day_count > PEOPLE_DAYS
        else "",
        csv=dashboard.state.url(f"{dashboard.location.path}/csv/people") if rows else "",
        empty=empty_text,
    )


_EXCLUSION_LABELS: Mapping[str, str] = {"bot": "Bots and crawlers"}


def _excluded_panel(dashboard: DashboardView) -> dict[str, Any]:
    top_list = dashboard.data.excluded
    max_events = top_list.rows[0][1] if top_list.rows else 0
    rows = [build_row(_EXCLUSION_LABELS.get(reason, reason), events, max_events) for reason, events in top_list.rows]
    empty_text = (
        "Remove the filters to see excluded events."
        if dashboard.state.filters
        else "All events of this period were counted."
    )
    return build_panel(
        dashboard,
        "excluded",
        "Not counted",
        column="Reason",
        unit="Events",
        rows=rows,
        csv=dashboard.state.url(f"{dashboard.location.path}/csv/excluded") if rows else "",
        empty=empty_text,
    )
