"""Why is my event missing? The latest requests of each site that were refused or excluded, without address and key."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from ovx_lite.dialects.diagnostics import Problem, decoded, diagnose
from ovx_lite.dialects.schema import Call, Endpoint
from ovx_lite.domain.models import Site
from ovx_lite.services.observer import Verdict

KEPT = 500
"""So many are kept of a site."""

_MOST_SITES = 1000
_LARGEST = 4096
_ADDRESSES = ("ip_address", "ip")


class Missed(msgspec.Struct, frozen=True):
    """A request that was refused, or whose events are in no count. `at` is Unix ms; `body` is JSON, `""` if large."""

    at: int
    endpoint: Endpoint
    body: str
    problems: Sequence[Problem]


class Missing:
    """Keeps what was refused or excluded, in memory alone."""

    everything = False

    def __init__(self) -> None:
        self._kept: dict[int, deque[Missed]] = {}

    def take(self, verdict: Verdict) -> None:
        """Take note of a verdict, if it is known which site it is of."""
        site, call = verdict.site, verdict.call
        if site is None or (site.number not in self._kept and len(self._kept) >= _MOST_SITES):
            return
        body = told(call.body) if call and len(call.body) <= _LARGEST else ""
        missed = Missed(verdict.at, verdict.endpoint, body, first_problems(verdict))
        self._kept.setdefault(site.number, deque(maxlen=KEPT)).append(missed)

    def of(self, site: Site) -> list[Missed]:
        """Those of a site, the latest first, with all that was wrong: it is looked for now, not when they came."""
        return [_explained(missed) for missed in reversed(list(self._kept.get(site.number, ())))]


def _explained(missed: Missed) -> Missed:
    if not missed.body:
        return missed
    call = Call(missed.body.encode(), missed.at)
    return msgspec.structs.replace(missed, problems=_more(missed.problems, diagnose(missed.endpoint, call)))


def first_problems(verdict: Verdict) -> list[Problem]:
    """What a request was refused for, or why its events are in no count."""
    error = verdict.error
    found = [Problem(error.code, error.message, error.field or "")] if error else []
    reasons = dict.fromkeys(event.kind.excluded for event in verdict.events if event.kind.excluded)
    return found + [
        Problem("excluded", f"It is stored, but in no count: {_REASONS.get(why, why)}.", "") for why in reasons
    ]


def problems_of(verdict: Verdict) -> list[Problem]:
    """All that was wrong with a request, and why its events are in no count."""
    found = first_problems(verdict)
    return found if verdict.call is None else _more(found, diagnose(verdict.endpoint, verdict.call))


def _more(found: Sequence[Problem], others: Sequence[Problem]) -> list[Problem]:
    known = {(one.field, one.message) for one in found}
    return [*found, *(one for one in others if (one.field, one.message) not in known)]


_REASONS = {"bot": "its user agent is a bot's"}


def told(body: bytes) -> str:
    """A body as it may be shown, without addresses; `""` if it is no JSON."""
    document = decoded(body)
    return "" if document is None else msgspec.json.encode(_without_addresses(document)).decode()


def _without_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_addresses(inner) for key, inner in value.items() if key not in _ADDRESSES}
    return [_without_addresses(inner) for inner in value] if isinstance(value, list) else value
