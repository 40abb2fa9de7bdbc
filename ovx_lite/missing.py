"""Why is my event missing? The latest requests of each site that were refused or excluded, without address and key."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from ovx_lite.diagnosis import Problem, diagnose
from ovx_lite.model import Site
from ovx_lite.verdicts import Verdict

KEPT = 500
"""So many are kept of a site."""

_MOST_SITES = 1000
_LONGEST = 4096
_ADDRESSES = ("ip_address", "ip")


class Missed(msgspec.Struct, frozen=True):
    """A request that was refused, or whose events are in no count. `at` is Unix ms; `body` is shortened JSON."""

    at: int
    api: str
    path: str
    code: str
    body: str
    problems: Sequence[Problem]


class Missing:
    """Keeps what was refused or excluded, in memory alone."""

    everything = False

    def __init__(self) -> None:
        self._kept: dict[int, deque[Missed]] = {}

    def take(self, verdict: Verdict) -> None:
        """Take note of a verdict, if it is known which site it is of."""
        site = verdict.site
        if site is None or (site.number not in self._kept and len(self._kept) >= _MOST_SITES):
            return
        problems = problems_of(verdict)
        code = verdict.error.code if verdict.error else "excluded"
        call = verdict.call
        missed = Missed(
            verdict.at, verdict.endpoint.api, verdict.endpoint.path, code, told(call.body) if call else "", problems
        )
        self._kept.setdefault(site.number, deque(maxlen=KEPT)).append(missed)

    def of(self, site: Site) -> Sequence[Missed]:
        """Those of a site, the latest first."""
        return tuple(reversed(self._kept.get(site.number, ())))


def problems_of(verdict: Verdict) -> list[Problem]:
    """All that was wrong with a request, and why its events are in no count."""
    error = verdict.error
    found = [Problem(error.code, error.message, error.field or "")] if error else []
    reasons = dict.fromkeys(event.kind.excluded for event in verdict.events if event.kind.excluded)
    found += [Problem("excluded", f"It is stored, but in no count: {_REASONS.get(why, why)}.", "") for why in reasons]
    if verdict.call is not None:
        known = {(one.field, one.message) for one in found}
        found += [one for one in diagnose(verdict.endpoint, verdict.call) if (one.field, one.message) not in known]
    return found


_REASONS = {"bot": "its user agent is a bot's"}


def told(body: bytes) -> str:
    """A body as it may be shown: without addresses, and not too long; `""` if it is no JSON."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    text = msgspec.json.encode(_without_addresses(document)).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _without_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_addresses(inner) for key, inner in value.items() if key not in _ADDRESSES}
    return [_without_addresses(inner) for inner in value] if isinstance(value, list) else value
