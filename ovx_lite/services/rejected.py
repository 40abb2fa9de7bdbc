"""The latest rejected and excluded requests of each site, without IP addresses and keys. For the page Missing events.

They are in memory only, so a restart forgets them.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from ovx_lite.dialects.diagnostics import Problem, decode_json, diagnose
from ovx_lite.dialects.schema import Endpoint, RawRequest
from ovx_lite.domain.models import Site
from ovx_lite.services.observer import RequestOutcome

MAX_REJECTED_PER_SITE = 500
"""How many requests to keep of a site; older ones are dropped."""

_MAX_SITES = 1000
_MAX_BODY_BYTES = 4096
_ADDRESS_FIELDS = ("ip_address", "ip")


class RejectedRequest(msgspec.Struct, frozen=True):
    """A request that was rejected, or whose events are excluded. `body` is JSON; `""` if it was large or not JSON."""

    received_at_ms: int
    endpoint: Endpoint
    body: str
    problems: Sequence[Problem]


class RejectedEvents:
    """Keeps the latest rejected and excluded requests of each site in memory. A `RequestObserver`."""

    wants_all = False

    def __init__(self) -> None:
        self._by_site: dict[int, deque[RejectedRequest]] = {}

    def record(self, outcome: RequestOutcome) -> None:
        """Keep a request and its problems, if its site is known."""
        site, raw_request = outcome.site, outcome.raw_request
        if site is None or (site.id not in self._by_site and len(self._by_site) >= _MAX_SITES):
            return
        body = redacted_body(raw_request.body) if raw_request and len(raw_request.body) <= _MAX_BODY_BYTES else ""
        rejected = RejectedRequest(outcome.received_at_ms, outcome.endpoint, body, first_problems(outcome))
        self._by_site.setdefault(site.id, deque(maxlen=MAX_REJECTED_PER_SITE)).append(rejected)

    def for_site(self, site: Site) -> list[RejectedRequest]:
        """Return the requests of a site, the latest first, with all their problems.

        `record` notes the first problem only. The others are looked for here, where it costs no ingestion time.
        """
        return [_with_all_problems(rejected) for rejected in reversed(list(self._by_site.get(site.id, ())))]


def _with_all_problems(rejected: RejectedRequest) -> RejectedRequest:
    if not rejected.body:
        return rejected
    raw_request = RawRequest(rejected.body.encode(), rejected.received_at_ms)
    return msgspec.structs.replace(
        rejected, problems=_merge_problems(rejected.problems, diagnose(rejected.endpoint, raw_request))
    )


def first_problems(outcome: RequestOutcome) -> list[Problem]:
    """Return the error that rejected a request, or the reasons why its events are excluded."""
    error = outcome.error
    problems = [Problem(error.code, error.message, error.field or "")] if error else []
    reasons = dict.fromkeys(event.event_type.excluded for event in outcome.events if event.event_type.excluded)
    return problems + [
        Problem("excluded", f"The event is stored, but not counted: {_EXCLUSION_REASONS.get(reason, reason)}.", "")
        for reason in reasons
    ]


def all_problems(outcome: RequestOutcome) -> list[Problem]:
    """Return everything that is wrong with a request, and the reasons why its events are excluded."""
    problems = first_problems(outcome)
    return (
        problems
        if outcome.raw_request is None
        else _merge_problems(problems, diagnose(outcome.endpoint, outcome.raw_request))
    )


def _merge_problems(problems: Sequence[Problem], additional: Sequence[Problem]) -> list[Problem]:
    reported = {(problem.field, problem.message) for problem in problems}
    return [*problems, *(problem for problem in additional if (problem.field, problem.message) not in reported)]


_EXCLUSION_REASONS = {"bot": "its user agent belongs to a bot"}


def redacted_body(body: bytes) -> str:
    """Return a JSON body without its IP addresses, as it may be shown; `""` if it is not JSON."""
    document = decode_json(body)
    return "" if document is None else msgspec.json.encode(_without_addresses(document)).decode()


def _without_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_addresses(inner) for key, inner in value.items() if key not in _ADDRESS_FIELDS}
    return [_without_addresses(inner) for inner in value] if isinstance(value, list) else value
