"""Every dialect's endpoint is one function: bytes in, on disk, bytes out.

It is a plain ASGI callable, without Starlette's routing, request and middleware, which would cost as much as all
the rest of the way (see `benchmarks/`).
"""

import sqlite3
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from ovx_lite.access import Caller, Limits
from ovx_lite.clock import Clock
from ovx_lite.enrich import enrich
from ovx_lite.errors import Refused, no_such_site
from ovx_lite.geo import CountryOf
from ovx_lite.ingest import Ingest, Repeat, Request, unavailable
from ovx_lite.model import Reply
from ovx_lite.sites import Sites
from ovx_lite.web.answers import FAULT, Headers, error_body, error_headers, log_fault, send_json
from ovx_lite.web.body import Bodies, spill
from ovx_lite.wire import Ask, Endpoint


class Api:
    """The endpoints of all dialects."""

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        sites: Sites,
        limits: Limits,
        ingest: Ingest,
        country_of: CountryOf,
        clock: Clock,
    ) -> None:
        self.endpoints = {endpoint.path: endpoint for endpoint in endpoints}
        self._sites = sites
        self._limits = limits
        self._ingest = ingest
        self._country_of = country_of
        self._clock = clock
        self.bodies = Bodies()

    async def __call__(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to an endpoint."""
        call = _call(scope)
        headers: Headers = []
        try:
            reply = await self._answer(endpoint, call, receive, headers)
            status, body = reply.status, reply.body
            if reply.replayed:
                headers.append((b"idempotency-replayed", b"true"))
        except Refused as refused:
            status, body = refused.status, error_body(refused)
            headers += error_headers(refused)
        except Exception as wrong:
            log_fault(scope, wrong)
            status, body = FAULT.status, error_body(FAULT)
        headers += self._standing(call)
        if status != 413:
            await send_json(send, status, body, headers)
            return
        await send_json(send, status, body, headers, last=False)
        await spill(receive)
        await send({"type": "http.response.body"})

    async def _answer(self, endpoint: Endpoint, call: "_Call", receive: Receive, headers: Headers) -> Reply:
        """The checks in the contract's order: size, JSON, credentials, rate limit, fields, site, props."""
        if call.method != "POST":
            headers.append((b"allow", b"POST"))
            raise Refused("method_not_allowed", f"{call.method} is not possible at {endpoint.path}: send a POST.")
        try:
            body = await self.bodies.read(receive, call.length, endpoint.body_limit)
        except Refused:
            headers.append((b"connection", b"close"))  # what there is yet to come of the body is not read
            raise
        now = self._clock.now()
        ask = endpoint.read(body, now)
        try:
            caller = self._sites.caller(call.authorization, now)
        except Refused:
            if not await self._sites.refresh():  # a key may be newer than our last look
                raise
            caller = self._sites.caller(call.authorization, now)
        repeat = None if call.idempotency_key is None else _repeat(call.idempotency_key, endpoint, body)
        if caller.limit is not None:
            try:
                self._limits.take(caller, ask.cost, now)
            except Refused as limited:
                # A replay is not counted, so no limit stands in its way.
                if not isinstance(repeat, Repeat):
                    raise
                return await self._ingest.submit(Request(caller.site.number, [], _raiser(limited), repeat))
        try:
            reply = await self._store(endpoint, ask, caller, repeat, now)
        except Refused as refused:
            if refused.code == "unavailable":
                self._limits.give_back(caller, ask.cost, now)
            raise
        if reply.replayed:
            self._limits.give_back(caller, ask.cost, now)
        return reply

    async def _store(
        self, endpoint: Endpoint, ask: Ask, caller: Caller, repeat: Repeat | Refused | None, now: int
    ) -> Reply:
        """The checks from the fields on, and the way into the store."""
        site, problem = caller.site, ask.problem
        if problem is not None and problem.code != "invalid_props":
            raise problem
        if isinstance(repeat, Refused):
            raise repeat
        if ask.site != site.id:
            raise no_such_site()
        if problem is not None:
            raise problem
        salt = self._sites.salt(site, now)
        if salt is None:
            try:
                salt = await self._sites.new_salt(site, now)
            except sqlite3.OperationalError:
                raise unavailable("The store cannot be written now") from None
        events = [enrich(hit, endpoint.api, site, salt, self._country_of) for hit in ask.hits]
        return await self._ingest.submit(Request(site.number, events, endpoint.reply, repeat))

    def _standing(self, call: "_Call") -> Headers:
        """Where a limited caller stands: on every answer, whatever came of the request."""
        now = self._clock.now()
        try:
            caller = self._sites.caller(call.authorization, now)
        except Refused:
            return []
        if caller.limit is None:
            return []
        standing = self._limits.standing(caller, now)
        return [
            (b"ratelimit-limit", b"%d" % standing.limit),
            (b"ratelimit-remaining", b"%d" % standing.remaining),
            (b"ratelimit-reset", b"%d" % standing.reset),
        ]


def _raiser(refused: Refused) -> Callable[[list[str]], Reply]:
    """The answer to a request that may only be a repeat, and is none."""

    def refuse(event_ids: list[str]) -> Reply:
        raise refused

    return refuse


class _Call(NamedTuple):
    """What matters of a request, beside its body."""

    method: str
    authorization: str = ""
    length: bytes | None = None
    idempotency_key: str | None = None


def _call(scope: Scope) -> _Call:
    authorization, length, idempotency_key = "", None, None
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"content-length":
            length = value
        elif name == b"idempotency-key":
            idempotency_key = value.decode("latin-1")
    return _Call(scope["method"], authorization, length, idempotency_key)


def _repeat(key: str, endpoint: Endpoint, body: bytes) -> Repeat | Refused:
    if not 1 <= len(key) <= 255 or not all("!" <= character <= "~" for character in key):
        return Refused(
            "invalid_request", "Idempotency-Key must be 1 to 255 visible ASCII characters.", "Idempotency-Key"
        )
    return Repeat(key, blake2b(endpoint.path.encode() + b"\n" + body, digest_size=16).digest())
