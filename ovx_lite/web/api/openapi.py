"""`GET /openapi.json`: describes every JSON endpoint, from the types that request bodies are validated against."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ovx_lite import __version__
from ovx_lite.dialects import ENDPOINTS
from ovx_lite.dialects.schema import Endpoint
from ovx_lite.domain.calendar import DAY_S
from ovx_lite.domain.errors import STATUS_BY_CODE
from ovx_lite.web.api import openapi_stats

_ERROR_STATUSES = (400, 401, 404, 409, 413, 429, 500, 503)
_SCHEMA_PREFIX = "#/components/schemas/"

_ERROR_DESCRIPTIONS = {
    400: "The request is not valid: `field` says where, `message` says what would be right.",
    401: "The API key or JWT is missing, unknown, revoked, expired or badly signed.",
    403: "The JWT may only send events, because it lacks the claim `stats: true`.",
    404: "The site does not exist, or the key is for another site.",
    405: "The path does not support this method: see `Allow`.",
    409: "The same Idempotency-Key was used for a different request within 24 hours.",
    413: "The body is too large.",
    429: "The rate limit of a sliding hour is reached.",
    500: "A bug in ovx-lite. The server's log has the details.",
    503: "The store cannot be written now, or its disk is nearly full. Nothing was stored.",
}


_HEADERS: dict[str, dict[str, Any]] = {
    "Access-Control-Allow-Origin": {
        "description": "Pages of all origins may read the response.",
        "schema": {"const": "*"},
    },
    "Access-Control-Expose-Headers": {
        "description": "Response headers that a page of another origin may read. Only if the request has `Origin`.",
        "schema": {"type": "string"},
    },
    "Access-Control-Allow-Methods": {"description": "Methods that pages may use.", "schema": {"const": "POST"}},
    "Access-Control-Allow-Headers": {"description": "Headers that pages may send.", "schema": {"type": "string"}},
    "Access-Control-Max-Age": {
        "description": "How many seconds a browser may cache this response.",
        "schema": {"type": "integer", "const": DAY_S},
    },
    "Allow": {"description": "The methods that the path supports.", "schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "description": "This is the response to an earlier request with the same key.",
        "schema": {"const": "true"},
    },
    "RateLimit-Limit": {
        "description": "The limit per hour, if there is one. Of two limits, the one that is reached first.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateLimit-Remaining": {
        "description": "How many requests or events are left.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit-Reset": {
        "description": "Seconds until the oldest request no longer counts.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Retry-After": {"description": "Seconds to wait before a retry.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "The authentication scheme.", "schema": {"const": "Bearer"}},
    "X-Request-Id": {
        "description": "The request's ID, also in the server's log: the one that the client sent, or a new one.",
        "schema": {"type": "string"},
    },
}
_RATE_LIMIT_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_CORS_HEADERS = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers")
_PREFLIGHT_HEADERS = ("Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age")
_HEADERS_BY_STATUS = {401: ("WWW-Authenticate",), 405: ("Allow",), 429: ("Retry-After",), 503: ("Retry-After",)}


async def openapi(request: Request) -> Response:
    """`GET /openapi.json`: the description of the JSON endpoints (OpenAPI 3.1)."""
    return Response(_encoded(), media_type="application/json", headers={"Access-Control-Allow-Origin": "*"})


@cache
def _encoded() -> bytes:
    # If types share a name, msgspec prefixes it with their modules; the product is enough. And the schema of a decimal
    # must also allow numbers, which msgspec's decoder accepts.
    return (
        msgspec.json.encode(describe(ENDPOINTS))
        .replace(b"ovx_lite.dialects.", b"")
        .replace(b'"type":"string","format":"decimal"', b'"type":["string","number"],"format":"decimal"')
    )


def describe(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI description of these ingestion endpoints, and of the endpoints that every server has."""
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
                    "description": "An API key, or a JWT (HS256) of the site, with `stats: true` to read statistics.",
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
                "description": "The events are on disk.",
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
        "summary": "Preflight request (CORS): pages of all origins may call",
        "security": [],
        "responses": {
            "204": {
                "description": "Allowed. Browsers may cache this for a day.",
                "headers": _headers(*_CORS_HEADERS, *_PREFLIGHT_HEADERS),
            }
        },
    }
    return {"post": post, "options": preflight}


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A repeat with the same key within 24 hours is stored once, and gets the first response again.",
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
            "message": {"type": "string", "description": "What is wrong, and what would be right."},
            "field": {"type": "string", "description": "The field that is wrong, for example events[3].url."},
        },
    }
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, "X-Request-Id")}


_HEALTHZ_PATH = {
    "get": {
        "operationId": "healthz",
        "tags": ["server"],
        "summary": "Whether the server can store events",
        "security": [],
        "responses": {
            "200": {
                "description": "It can.",
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
                                    "description": "Why retention is on hold, and what to do. Absent otherwise.",
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
