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
from ovx_lite.domain.errors import STATUS_BY_CODE
from ovx_lite.web.api import openapi_stats

_ERROR_STATUSES = (400, 401, 404, 409, 413, 429, 500, 503)
_SCHEMA_PREFIX = "#/components/schemas/"

_ERROR_DESCRIPTIONS = {
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
_RATE_LIMIT_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_CORS_HEADERS = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers")
_PREFLIGHT_HEADERS = ("Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age")
_HEADERS_BY_STATUS = {401: ("WWW-Authenticate",), 405: ("Allow",), 429: ("Retry-After",), 503: ("Retry-After",)}


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
    body_types = [
        body_type for endpoint in endpoints for body_type in (*endpoint.request_types, endpoint.response_type)
    ]
    references, schemas = msgspec.json.schema_components(body_types, ref_template=_SCHEMA_PREFIX + "{name}")
    reference = iter(references)
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        request_schemas = [next(reference) for _ in endpoint.request_types]
        paths[endpoint.path] = _path_item(endpoint, request_schemas, next(reference))
    return {
        "openapi": "3.1.0",
        "info": {"title": "ovx-lite", "version": __version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "servers": [{"url": "."}],
        "tags": [
            {"name": name} for name in ("server", "stats", *dict.fromkeys(endpoint.api for endpoint in ENDPOINTS))
        ],
        "paths": paths | _stats_paths() | {"/healthz": _HEALTHZ_PATH, "/openapi.json": _OPENAPI_PATH},
        "components": {
            "schemas": schemas
            | {f"Error{status}": _error_schema(status) for status in _ERROR_DESCRIPTIONS}
            | {"StatsQuery": openapi_stats.QUERY, "StatsAnswer": openapi_stats.RESPONSE},
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


def _stats_paths() -> dict[str, Any]:
    errors = {str(status): _error_response(status) for status in (400, 401, 403, 404, 413, 503)}
    return openapi_stats.paths(
        errors, {name: {"$ref": f"{_SCHEMA_PREFIX}Stats{name.title()}"} for name in ("query", "answer")}, _headers()
    )


def _path_item(
    endpoint: Endpoint, request_schemas: list[dict[str, Any]], response_schema: dict[str, Any]
) -> dict[str, Any]:
    name = endpoint.path.strip("/").replace("/", "_").replace("{PROJECT_ID}_", "")
    common_headers = _RATE_LIMIT_HEADERS + (_CORS_HEADERS if endpoint.public else ())
    statuses = [status for status in _ERROR_STATUSES if not (endpoint.public and status == 401)]
    schema = request_schemas[0] if len(request_schemas) == 1 else {"anyOf": request_schemas}
    post = {
        "operationId": name,
        "tags": [endpoint.api],
        "summary": endpoint.summary,
        "security": [] if endpoint.public else [{"key": []}],
        "parameters": _parameters(endpoint),
        "requestBody": {
            "required": True,
            "description": f"JSON of at most {endpoint.body_limit_bytes // 1024} KiB, whatever the Content-Type says.",
            "content": {"application/json": {"schema": schema}},
        },
        "responses": {
            str(endpoint.status): {
                "description": "It is on disk.",
                "headers": _headers(*common_headers, "Idempotency-Replayed"),
                "content": {"application/json": {"schema": response_schema}},
            },
            **{str(status): _error_response(status, *common_headers) for status in statuses},
        },
    }
    if not endpoint.public:
        return {"post": post}
    preflight = {
        "operationId": f"{name}_preflight",
        "tags": [endpoint.api],
        "summary": "Say to browsers that pages of all origins may call",
        "security": [],
        "responses": {
            "204": {
                "description": "They may; good for a day.",
                "headers": _headers(*_CORS_HEADERS, *_PREFLIGHT_HEADERS),
            }
        },
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


def _error_response(status: int, *headers: str) -> dict[str, Any]:
    return {
        "description": _ERROR_DESCRIPTIONS[status],
        "headers": _headers(*headers, *_HEADERS_BY_STATUS.get(status, ())),
        "content": {"application/json": {"schema": {"$ref": f"{_SCHEMA_PREFIX}Error{status}"}}},
    }


def _error_schema(status: int) -> dict[str, Any]:
    error = {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": {"enum": [code for code, code_status in STATUS_BY_CODE.items() if code_status == status]},
            "message": {"type": "string", "description": "What was wrong, and what would be right."},
            "field": {"type": "string", "description": "The one field to blame, like events[3].url."},
        },
    }
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, "X-Request-Id")}


_HEALTHZ_PATH = {
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
            "503": _error_response(503),
        },
    }
}
_OPENAPI_PATH = {
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
