"""The way of an event: every dialect's endpoint is one function: bytes in, on disk, bytes out.

It is a plain ASGI callable, without Starlette's routing, request and middleware, which would cost as much as all
the rest of the way (see `benchmarks/`).
"""

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable

from starlette.types import Receive, Scope, Send

from ovx_lite.auth import api_keys
from ovx_lite.auth.api_keys import Caller
from ovx_lite.auth.authenticator import Authenticator
from ovx_lite.auth.rate_limit import Limits
from ovx_lite.dialects.schema import Ask, Endpoint
from ovx_lite.domain.clock import Clock
from ovx_lite.domain.errors import Refused, detached, no_such_site, unavailable
from ovx_lite.domain.models import Reply, Site
from ovx_lite.enrichment.enrich import enrich
from ovx_lite.enrichment.geoip import CountryOf
from ovx_lite.http import request_id
from ovx_lite.http.body import Bodies, spill
from ovx_lite.http.cors import ALLOWED, EXPOSED, PREFLIGHT, check_hosts
from ovx_lite.http.request_head import Incoming
from ovx_lite.http.responses import FAULT, Headers, error_body, error_headers, limit_headers, log_fault, send_json
from ovx_lite.services.group_commit import Ingest, Request
from ovx_lite.services.observer import Verdict, Witness, target
from ovx_lite.services.site_cache import Sites
from ovx_lite.storage.idempotency import Repeat
from ovx_lite.web.api.idempotency import refusing, repeat_of

Door = tuple[Endpoint, str]
"""An endpoint, and the site that its path names, `""` if it names none."""


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
        authenticator: Authenticator,
        observer: Witness,
    ) -> None:
        self._doors: dict[str, Door] = {}
        self._patterns: list[tuple[re.Pattern[str], Endpoint]] = []
        for endpoint in endpoints:
            before, brace, after = endpoint.path.partition("{")
            if brace:
                pattern = re.compile(f"{before}([^/]+){after.partition('}')[2]}")
                self._patterns.append((pattern, endpoint))
            else:
                self._doors[endpoint.path] = (endpoint, "")
        self._sites = sites
        self._limits = limits
        self._ingest = ingest
        self._country_of = country_of
        self._clock = clock
        self._authenticator = authenticator
        self._observer = observer
        self.bodies = Bodies()
        self.answers: Counter[tuple[str, int]] = Counter()  # by dialect and status, since the start

    def door(self, path: str) -> Door | None:
        """What is at this path, if it is one of ours."""
        if door := self._doors.get(path):
            return door
        for pattern, endpoint in self._patterns:
            if found := pattern.fullmatch(path):
                return endpoint, found[1]
        return None

    async def __call__(self, door: Door, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to an endpoint."""
        endpoint, site = door
        request = Incoming(scope, site, endpoint.public)
        headers: Headers = [(request_id.HEADER, request_id.begin(scope["headers"]))]
        reply: Reply | None = None
        error: Refused | None = None
        try:
            reply = await self._answer(endpoint, request, receive, headers)
            status, body = reply.status, reply.body
            if reply.replayed:
                headers.append((b"idempotency-replayed", b"true"))
        except Refused as refused:
            error, status, body = detached(refused), refused.status, error_body(refused)
            headers += error_headers(refused)
        except Exception as wrong:
            log_fault(scope, wrong)
            detached(wrong)
            error, status, body = FAULT, FAULT.status, error_body(FAULT)
        if self._observer.everything or error is not None or any(event.kind.excluded for event in request.events):
            self._tell(endpoint, request, scope, reply, error)
        self.answers[endpoint.api, status] += 1
        headers += self._standing(request)
        if endpoint.public:
            headers += (*ALLOWED, *EXPOSED) if request.origin else ALLOWED
        await send_json(send, status, body, headers, last=not request.unread)
        if request.unread:
            await spill(receive)
            await send({"type": "http.response.body"})

    async def _answer(self, endpoint: Endpoint, request: Incoming, receive: Receive, headers: Headers) -> Reply:
        """The checks in the contract's order: size, JSON, credentials, rate limit, fields, site, props."""
        if request.method == "OPTIONS" and endpoint.public:
            headers += PREFLIGHT
            return Reply(204, b"")
        if request.method != "POST":
            headers.append((b"allow", b"OPTIONS, POST" if endpoint.public else b"POST"))
            raise Refused("method_not_allowed", f"{request.method} is not possible at {request.path}: send a POST.")
        try:
            body = await self.bodies.read(receive, request.length, endpoint.body_limit)
        except Refused:
            headers.append((b"connection", b"close"))  # what there is yet to come of the body is not read
            request.unread = True
            raise
        now = self._clock.now()
        request.told = request.call(body, now)
        ask = endpoint.read(request.told)
        request.asked, request.cost = ask.site, ask.cost
        caller = self._caller(endpoint, ask, request, now) or await self._newer_caller(endpoint, ask, request, now)
        request.caller = caller
        key = request.idempotency_key
        repeat = None if key is None else repeat_of(key, request.path, body, endpoint.public)
        if caller.limit is not None:
            try:
                request.standing = self._limits.take(caller, ask.cost, now)
            except Refused as limited:
                # A replay is not counted, so no limit stands in its way.
                if not isinstance(repeat, Repeat):
                    raise
                return await self._replay(caller.site, repeat, limited)
        try:
            reply = await self._store(endpoint, ask, request, caller.site, repeat, now)
        except Refused as refused:
            if refused.code == "unavailable":
                self._give_back(request, caller, now)
            raise
        if reply.replayed:
            self._give_back(request, caller, now)
        return reply

    async def _replay(self, site: Site, repeat: Repeat, refusal: Refused) -> Reply:
        """The first answer again, or else the refusal."""
        try:
            return await self._ingest.submit(Request(site.number, [], refusing(refusal), repeat))
        except Refused as refused:
            raise refusal if refused.code == "idempotency_conflict" else refused from None

    def _give_back(self, request: Incoming, caller: Caller, now: int) -> None:
        if caller.limit is not None:
            self._limits.give_back(caller, request.cost, now)
            request.standing = None

    def _caller(self, endpoint: Endpoint, ask: Ask, request: Incoming, now: int) -> Caller | None:
        """Who calls, as far as we know without asking the store."""
        if endpoint.public:
            site = self._sites.public(ask.site)
            if site is None or (salt := self._sites.salt(site, now)) is None:
                return None
            request.salt = salt
            return api_keys.at_address(site, request.address, salt)
        try:
            return self._authenticator.authenticate(request.authorization, ask.site or request.site, now)
        except Refused:
            return None

    async def _newer_caller(self, endpoint: Endpoint, ask: Ask, request: Incoming, now: int) -> Caller:
        """Who calls, as the store has it now: a key, or a site, may be newer than our last look. Raises `Refused`."""
        await self._authenticator.refresh(ask.site or request.site)
        if not endpoint.public:
            return self._authenticator.authenticate(request.authorization, ask.site or request.site, now)
        site = self._sites.public(ask.site)
        if site is None:
            wrong = ask.problem is not None and ask.problem.code != "invalid_props"
            raise ask.problem if wrong and ask.problem else no_such_site(endpoint.site_field, public=True)
        request.salt = await self._new_salt(site, now)
        return api_keys.at_address(site, request.address, request.salt)

    async def _store(
        self, endpoint: Endpoint, ask: Ask, request: Incoming, site: Site, repeat: Repeat | Refused | None, now: int
    ) -> Reply:
        """The checks from the fields on, and the way into the store."""
        problem = ask.problem
        if problem is not None and problem.code != "invalid_props":
            raise problem
        if isinstance(repeat, Refused):
            raise repeat
        if endpoint.public:
            check_hosts(site, request.origin, ask)
        elif ask.site != site.id:
            raise no_such_site(endpoint.site_field)
        if problem is not None:
            raise problem
        salt = request.salt or self._sites.salt(site, now) or await self._new_salt(site, now)
        events = [enrich(hit, endpoint.api, site, salt, self._country_of) for hit in ask.hits]
        request.events = events
        if self._ingest.disk.is_low and isinstance(repeat, Repeat):  # a replay needs no room
            return await self._replay(site, repeat, self._ingest.disk.refusal)
        if not self._observer.everything:
            return await self._ingest.submit(Request(site.number, events, endpoint.reply, repeat))

        def reply(ids: list[str]) -> Reply:
            request.ids = ids
            return endpoint.reply(ids)

        return await self._ingest.submit(Request(site.number, events, reply, repeat, request.followed))

    def _tell(
        self, endpoint: Endpoint, request: Incoming, scope: Scope, reply: Reply | None, error: Refused | None
    ) -> None:
        """Pass a request and its outcome to the observer. If that fails, the response stays the same."""
        site = request.caller.site if request.caller else self._sites.public(request.asked or request.site)
        said = (request.told, site, request.events, request.ids, error, reply, request.followed)
        now = request.told.now if request.told else self._clock.now()
        try:
            self._observer.take(Verdict(now, endpoint, request.method, target(scope), scope["headers"], *said))
        except Exception as wrong:
            log_fault(scope, wrong)

    async def _new_salt(self, site: Site, now: int) -> bytes:
        try:
            return await self._sites.new_salt(site, now)
        except sqlite3.OperationalError:
            raise unavailable("The store cannot be written now") from None

    def _standing(self, request: Incoming) -> Headers:
        """Where a limited caller stands: on every answer, whatever came of the request."""
        standing, caller = request.standing, request.caller
        if standing is None:
            now = self._clock.now()
            if caller is None and request.public:
                return []
            if caller is None:
                try:
                    site_slug = request.asked or request.site
                    caller = self._authenticator.authenticate(request.authorization, site_slug, now)
                except Refused:
                    return []
            if caller.limit is None:
                return []
            standing = self._limits.standing(caller, now, request.cost)
        return limit_headers(standing)
