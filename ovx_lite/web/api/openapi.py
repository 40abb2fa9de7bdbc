"""`GET /openapi.json`: what every JSON endpoint takes and gives, from the types that bodies are checked against."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite import __version__
from ovx_lite.dialects import ENDPOINTS
from ovx_lite.dialects.schema import Endpoint
from ovx_lite.domain.errors import STATUS
from ovx_lite.web.api import openapi_stats

_REFUSALS = (400, 401, 404, 409, 413, 429, 500, 503)
_SCHEMAS = "#/components/schemas/"

_MEANINGS = {
    400: "What was sent is not right: `field` says where, `message` what would be.",
    401: "No key or token, or one that is not good (any more).",
    403: "The JWT may only send events: it lacks the claim `stats: true`.",
    404: "No such site, or not this key's.",
    405: "Another method is needed here: see `Allow`.",
    409: "The Idempotency-Key was used for another request within 24 hours.",
    413: "The body is too large.",
    429: "The caller's limit for a sliding hour is reached.",
    500: "A fault of the server's.",
    503: "The store cannot be written now, or its disk is nearly full; nothing was stored.",
}


_HEADERS: dict[str, dict[str, Any]] = {
    "Access-Control-Allow-Origin": {"description": "Pages of all origins may read this.", "schema": {"const": "*"}},
    "Access-Control-Expose-Headers": {
        "description": "What else they may read, where one asks (`Origin`).",
        "schema": {"type": "string"},
    },
    "Access-Control-Allow-Methods": {"description": "How they may call.", "schema": {"const": "POST"}},
    "Access-Control-Allow-Headers": {"description": "What they may send.", "schema": {"type": "string"}},
    "Access-Control-Max-Age": {"description": "For so many seconds.", "schema": {"type": "integer", "const": 86400}},
    "Allow": {"description": "The methods that are possible.", "schema": {"type": "string"}},
    "Idempotency-Replayed": {"description": "This is an earlier request's answer.", "schema": {"const": "true"}},
    "RateLimit-Limit": {
        "description": "How many an hour, for callers with a limit; of two, the one that is reached first.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateLimit-Remaining": {"description": "How many are left.", "schema": {"type": "integer", "minimum": 0}},
    "RateLimit-Reset": {
        "description": "In how many seconds the next become free.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Retry-After": {"description": "In how many seconds to try again.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "How to sign in.", "schema": {"const": "Bearer"}},
    "X-Request-Id": {
        "description": "The request's id, also in the server's log: the caller's own, if it sent one, or a new one.",
        "schema": {"type": "string"},
    },
}
_STANDING = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_CORS = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers")
_PREFLIGHT = ("Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age")
_HEADERS_OF = {401: ("WWW-Authenticate",), 405: ("Allow",), 429: ("Retry-After",), 503: ("Retry-After",)}


async def openapi(request: Request) -> Response:
    """The description, OpenAPI 3.1."""
    return Response(_encoded(), media_type="application/json", headers={"Access-Control-Allow-Origin": "*"})


@cache
def _encoded() -> bytes:
    # msgspec names types that share a name by their modules, where the product alone tells ours apart; and its
    # decoder takes decimals from numbers, too.
    return (
        msgspec.json.encode(describe(ENDPOINTS))
        .replace(b"ovx_lite.dialects.", b"")
        .replace(b'"type":"string","format":"decimal"', b'"type":["string","number"],"format":"decimal"')
    )


def describe(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The description of these endpoints and of what all servers have besides, as JSON."""
    endpoints = list(endpoints)
    kinds = [kind for endpoint in endpoints for kind in (*endpoint.takes, endpoint.gives)]
    references, schemas = msgspec.json.schema_components(kinds, ref_template=_SCHEMAS + "{name}")
    reference = iter(references)
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        takes = [next(reference) for _ in endpoint.takes]
        paths[endpoint.path] = _path(endpoint, takes, next(reference))
    return {
        "openapi": "3.1.0",
        "info": {"title": "ovx-lite", "version": __version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "servers": [{"url": "."}],
        "tags": [
            {"name": name} for name in ("server", "stats", *dict.fromkeys(endpoint.api for endpoint in ENDPOINTS))
        ],
        "paths": paths | _stats() | {"/healthz": _HEALTH, "/openapi.json": _SELF},
        "components": {
            "schemas": schemas
            | {f"Error{status}": _error_schema(status) for status in _MEANINGS}
            | {"StatsQuery": openapi_stats.QUERY, "StatsAnswer": openapi_stats.ANSWER},
            "headers": _HEADERS,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, or a JWT (HS256) of the site's, with `stats: true` to read statistics.",
                }
            },
        },
    }


def _stats() -> dict[str, Any]:
    errors = {str(status): _error(status) for status in (400, 401, 403, 404, 413, 503)}
    return openapi_stats.paths(
        errors, {name: {"$ref": f"{_SCHEMAS}Stats{name.title()}"} for name in ("query", "answer")}, _headers()
    )


def _path(endpoint: Endpoint, takes: list[dict[str, Any]], gives: dict[str, Any]) -> dict[str, Any]:
    name = endpoint.path.strip("/").replace("/", "_").replace("{PROJECT_ID}_", "")
    common = _STANDING + (_CORS if endpoint.public else ())
    statuses = [status for status in _REFUSALS if not (endpoint.public and status == 401)]
    schema = takes[0] if len(takes) == 1 else {"anyOf": takes}
    post = {
        "operationId": name,
        "tags": [endpoint.api],
        "summary": endpoint.summary,
        "security": [] if endpoint.public else [{"key": []}],
        "parameters": _parameters(endpoint),
        "requestBody": {
            "required": True,
            "description": f"JSON of at most {endpoint.body_limit // 1024} KiB, whatever the Content-Type says.",
            "content": {"application/json": {"schema": schema}},
        },
        "responses": {
            str(endpoint.status): {
                "description": "It is on disk.",
                "headers": _headers(*common, "Idempotency-Replayed"),
                "content": {"application/json": {"schema": gives}},
            },
            **{str(status): _error(status, *common) for status in statuses},
        },
    }
    if not endpoint.public:
        return {"post": post}
    preflight = {
        "operationId": f"{name}_preflight",
        "tags": [endpoint.api],
        "summary": "Say to browsers that pages of all origins may call",
        "security": [],
        "responses": {"204": {"description": "They may; good for a day.", "headers": _headers(*_CORS, *_PREFLIGHT)}},
    }
    return {"post": post, "options": preflight}


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A repeat with the same key within 24 hours is stored once and gets the first answer again.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    }
    if "{" not in endpoint.path:
        return [key]
    site = {
        "name": endpoint.path.partition("{")[2].partition("}")[0],
        "in": "path",
        "required": True,
        "description": "The site's id.",
        "schema": {"type": "string", "minLength": 1},
    }
    return [site, key]


def _error(status: int, *headers: str) -> dict[str, Any]:
    return {
        "description": _MEANINGS[status],
        "headers": _headers(*headers, *_HEADERS_OF.get(status, ())),
        "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Error{status}"}}},
    }


def _error_schema(status: int) -> dict[str, Any]:
    error = {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": {"enum": [code for code, its_status in STATUS.items() if its_status == status]},
            "message": {"type": "string", "description": "What was wrong, and what would be right."},
            "field": {"type": "string", "description": "The one field to blame, like events[3].url."},
        },
    }
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, "X-Request-Id")}


_HEALTH = {
    "get": {
        "operationId": "healthz",
        "tags": ["server"],
        "summary": "Whether events can be taken",
        "security": [],
        "responses": {
            "200": {
                "description": "They can.",
                "headers": _headers(),
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["status", "version"],
                            "properties": {
                                "status": {"const": "ok"},
                                "version": {"type": "string"},
                                "detail": {
                                    "type": "string",
                                    "description": "Why retention is on hold, and what to do. Absent if it is not.",
                                },
                            },
                        }
                    }
                },
            },
            "503": _error(503),
        },
    }
}
_SELF = {
    "get": {
        "operationId": "openapi",
        "tags": ["server"],
        "summary": "This description",
        "security": [],
        "responses": {
            "200": {
                "description": "OpenAPI 3.1.",
                "headers": _headers("Access-Control-Allow-Origin"),
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
        },
    }
}
