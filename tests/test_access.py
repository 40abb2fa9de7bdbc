"""Credentials and rate limits: over HTTP, then the sliding hour against a simple model."""

import json
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovx_lite.auth.api_keys import Principal
from ovx_lite.auth.rate_limit import RateLimiter
from ovx_lite.domain.errors import ApiError
from tests.conftest import Response, RunningSite, Server
from tests.support.tokens import SITE, START_S, segment, token

HOUR_S = 3600
DAY_S = 24 * HOUR_S
NOW_S = int(time.time())
PAGEVIEW = "/api/v1/events/pageview"


def claims(**others: object) -> dict[str, object]:
    """Return valid claims, changed or extended by `others`; `...` omits a claim."""
    all_ = {"site_id": "my-site", "exp": NOW_S + HOUR_S} | others
    return {name: value for name, value in all_.items() if value is not ...}


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"exp": NOW_S + DAY_S - 60},
        {"exp": NOW_S + HOUR_S + 0.5},
        {"nbf": NOW_S - 60, "iat": NOW_S - 60},
        {"iss": "shop", "aud": "ovx", "sub": "user_123", "jti": "1", "role": {"admin": True}},
        {"iat": NOW_S + HOUR_S},
    ],
)
def test_a_valid_jwt_is_accepted(running: RunningSite, others: dict[str, object]) -> None:
    assert running.server.pageview(token(running.jwt_secret, claims(**others))).status == 201


STATS: list[tuple[str, str, object]] = [
    ("POST", "/api/v1/stats/query", {"site_id": "my-site", "metrics": ["visitors"], "date_range": "7d"}),
    ("POST", "/api/v2/query", {"site_id": "my-site", "metrics": ["visitors"], "date_range": "7d"}),
    ("GET", "/api/v1/stats/realtime?site_id=my-site", None),
]


@pytest.mark.parametrize(("method", "path", "body"), STATS)
def test_a_jwt_reads_statistics_only_with_its_claim(running: RunningSite, method: str, path: str, body: object) -> None:
    def status(**others: object) -> int:
        return running.server.send(path, body, token(running.jwt_secret, claims(**others)), method=method).status

    assert status(stats=True) == 200
    assert [status(stats=claim) for claim in (..., None, False, 1, "true", [True], {"read": True})] == [403] * 7
    response = running.server.send(path, body, token(running.jwt_secret, claims()), method=method)
    assert response.error == (403, "forbidden", None)
    assert '"stats": true' in response.json["error"]["message"]
    assert running.server.send(path, body, running.key, method=method).status == 200
    assert running.server.pageview(token(running.jwt_secret, claims(stats=True))).status == 201


BAD_TOKENS: dict[str, Callable[[str], str]] = {
    "expired": lambda secret: token(secret, claims(exp=NOW_S - 1)),
    "expired long ago": lambda secret: token(secret, claims(exp=0)),
    "valid for more than 24 hours": lambda secret: token(secret, claims(exp=NOW_S + DAY_S + 600)),
    "never expires": lambda secret: token(secret, claims(exp=1e400)),
    "exp is NaN": lambda secret: token(secret, claims(exp=float("nan"))),
    "without exp": lambda secret: token(secret, claims(exp=...)),
    "exp is null": lambda secret: token(secret, claims(exp=None)),
    "exp is a string": lambda secret: token(secret, claims(exp=str(NOW_S + HOUR_S))),
    "exp is true": lambda secret: token(secret, claims(exp=True)),
    "not valid yet": lambda secret: token(secret, claims(nbf=NOW_S + HOUR_S // 2)),
    "nbf is a string": lambda secret: token(secret, claims(nbf="0")),
    "another site": lambda secret: token(secret, claims(site_id="other-site")),
    "unknown site": lambda secret: token(secret, claims(site_id="no-site")),
    "without site_id": lambda secret: token(secret, claims(site_id=...)),
    "site_id is a list": lambda secret: token(secret, claims(site_id=["my-site"])),
    "site_id is an object": lambda secret: token(secret, claims(site_id={})),
    "claims are a list": lambda secret: token(secret, ["my-site"]),
    "deeply nested claims": lambda secret: token(secret, json.loads("[" * 900 + "]" * 900)),
    "alg none, signed": lambda secret: token(secret, claims(), {"alg": "none"}),
    "alg none, not signed": lambda secret: token(secret, claims(), {"alg": "none"}).rpartition(".")[0] + ".",
    "alg None": lambda secret: token(secret, claims(), {"alg": "None"}).rpartition(".")[0] + ".",
    "no alg": lambda secret: token(secret, claims(), {"typ": "JWT"}),
    "HS384": lambda secret: token(secret, claims(), {"alg": "HS384"}, "sha384"),
    "HS512": lambda secret: token(secret, claims(), {"alg": "HS512"}, "sha512"),
    "RS256 by name": lambda secret: token(secret, claims(), {"alg": "RS256"}),
    "ES256 by name": lambda secret: token(secret, claims(), {"alg": "ES256"}),
    "HS256 by name only": lambda secret: token(secret, claims(), digest="sha512"),
    "signed with another secret": lambda secret: token(secret[::-1], claims()),
    "signed with nothing": lambda secret: token("", claims()),
    "not signed": lambda secret: token(secret, claims()).rpartition(".")[0] + ".",
    "truncated signature": lambda secret: token(secret, claims())[:-2],
    "other claims under the signature": lambda secret: with_other_claims(token(secret, claims(exp=0)), claims()),
    "dots": lambda secret: "..",
    "letters": lambda secret: "a.b.c",
    "not JSON": lambda secret: f"{segment(b'{')}.{segment(b'}')}.{segment(b'x')}",
    "not UTF-8": lambda secret: ".".join([segment(bytes([255, 254]))] * 3),
    "long": lambda secret: ".".join(["x" * 9000] * 3),
}


def with_other_claims(token: str, claims: object) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{segment(json.dumps(claims).encode())}.{signature}"


@pytest.mark.parametrize("which", BAD_TOKENS)
def test_an_invalid_jwt_is_refused(running: RunningSite, which: str) -> None:
    assert_unauthorized(running.server.pageview(BAD_TOKENS[which](running.jwt_secret)))


def assert_unauthorized(response: Response) -> None:
    assert response.error == (401, "unauthorized", None)
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer unknown",
        "{key}",
        "Basic {key}",
        "Token {key}",
        "Bearer{key}",
        "Bearer {key}x",
        "Bearer x{key}",
        "Bearer {jwt_secret}",
        "Bearer ключ",
        "Bearer " + "x" * 20_000,
    ],
)
@pytest.mark.parametrize("path", ["pageview", "custom", "batch"])
def test_other_credentials_are_refused(running: RunningSite, path: str, header: str | None) -> None:
    event = {"url": "app://a", "event_name": "signup"}
    body = {"site_id": "my-site", "events": [event | {"type": "custom"}]} | event
    authorization = (header or "").format(key=running.key, jwt_secret=running.jwt_secret).encode().decode("latin-1")
    headers = {} if header is None else {"Authorization": authorization}
    assert_unauthorized(running.server.send("/api/v1/events/" + path, body, headers=headers))


def test_the_bearer_scheme_is_case_insensitive(running: RunningSite) -> None:
    body, header = {"site_id": "my-site", "url": "app://a"}, {"Authorization": f"bearer {running.key}"}
    assert running.server.send(PAGEVIEW, body, headers=header).status == 201


@pytest.mark.parametrize("send", [Server.pageview, Server.custom])
@pytest.mark.parametrize("with_token", [False, True])
def test_another_site_and_an_unknown_site_get_the_same_error(running: RunningSite, send: Any, with_token: bool) -> None:
    credential = token(running.jwt_secret, claims()) if with_token else running.key
    answers = [send(running.server, credential, site_id=site) for site in ("other-site", "wrong-site")]
    assert [response.error for response in answers] == [(404, "invalid_site_id", "site_id")] * 2
    assert answers[0].body.replace(b"other-site", b"wrong-site") == answers[1].body


@st.composite
def calls(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Draw requests: (seconds after START_S, ascending; number of events)."""
    gaps_s = draw(st.lists(st.sampled_from([0, 0, 1, 59, 1200, 1799, 1800, 3599, 3600, 3601]), min_size=1, max_size=25))
    return [(sum(gaps_s[: number + 1]), draw(st.integers(1, 6))) for number in range(len(gaps_s))]


@given(st.integers(1, 12), calls())
def test_a_request_is_admitted_exactly_when_the_hour_has_room(limit: int, calls: list[tuple[int, int]]) -> None:
    limiter, principal, admitted = RateLimiter(), Principal(SITE, "key", limit), list[tuple[int, int]]()
    for second, cost in calls:
        used = sum(count for admitted_second, count in admitted if second - HOUR_S < admitted_second)
        now_ms = (START_S + second) * 1000
        if used + cost <= limit:
            limiter.consume(principal, cost, now_ms)
            admitted.append((second, cost))
            used += cost
        else:
            with pytest.raises(ApiError, match=str(limit)):
                limiter.consume(principal, cost, now_ms)
        assert limiter.status(principal, now_ms).remaining == limit - used


@given(st.integers(1, 12), calls())
def test_a_refused_request_is_admitted_after_retry_after_and_not_a_second_earlier(
    limit: int, calls: list[tuple[int, int]]
) -> None:
    limiter, principal = RateLimiter(), Principal(SITE, "key", limit)
    for second, cost in calls:
        now_ms = (START_S + second) * 1000
        try:
            limiter.consume(principal, cost, now_ms)
        except ApiError as exc:
            wait_s = exc.retry_after_s or 0
            assert 1 <= wait_s <= HOUR_S
            if cost > limit:
                continue
            deepcopy(limiter).consume(principal, cost, now_ms + wait_s * 1000)
            with pytest.raises(ApiError):
                deepcopy(limiter).consume(principal, cost, now_ms + wait_s * 1000 - 1000)


@given(st.integers(1, 12), calls(), st.integers(0, 4000))
def test_stored_requests_still_count_after_a_restart(limit: int, calls: list[tuple[int, int]], later_s: int) -> None:
    limiter_before, limiter_after, principal = RateLimiter(), RateLimiter(), Principal(SITE, "key", limit)
    for second, cost in calls:
        try:
            limiter_before.consume(principal, cost, (START_S + second) * 1000)
        except ApiError:
            continue
    limiter_after.restore([(name, second, count) for (name, second), count in sorted(limiter_before.unsaved.items())])
    now_ms = (START_S + calls[-1][0] + later_s) * 1000
    assert limiter_after.status(principal, now_ms) == limiter_before.status(principal, now_ms)


@pytest.mark.parametrize(("second", "remaining"), [(2, 3), (3599, 3), (3600, 3), (3601, 5)])
def test_a_late_refund_is_taken_from_the_second_it_was_counted_in(second: int, remaining: int) -> None:
    limiter, principal = RateLimiter(), Principal(SITE, "key", 5)
    limiter.consume(principal, 3, START_S * 1000)
    limiter.consume(principal, 2, (START_S + 1) * 1000)
    limiter.refund(principal, 3, START_S * 1000)
    assert limiter.status(principal, (START_S + second) * 1000).remaining == remaining
