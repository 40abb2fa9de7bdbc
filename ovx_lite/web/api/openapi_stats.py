"""The OpenAPI description of the Stats API, a part of `/openapi.json`."""

from typing import Any

from ovx_lite.stats import date_ranges, filters, query

_TEXT = {"type": "string"}
_PROPERTY = {"type": "string", "pattern": f"^{filters.PROPS_PREFIX}.+", "maxLength": filters.MAX_VALUE_LENGTH}
_DIMENSION = {"anyOf": [{"enum": [*filters.EVENT_DIMENSIONS, *filters.VISIT_DIMENSIONS]}, _PROPERTY]}
_DATES = {
    "type": "array",
    "items": {"type": "string", "maxLength": 40},
    "minItems": 2,
    "maxItems": 2,
    "description": 'First and last date, or two times (ISO 8601), for example ["2025-03-01", "2025-03-31"].',
}
_DATE_RANGE = {"anyOf": [{"enum": list(date_ranges.RANGE_NAMES)}, _DATES]}
_FILTER = {
    "type": "array",
    "description": 'A condition such as ["is", "visit:source", ["google"]], or conditions combined: ["and", […]], '
    '["or", […]], ["not", …].',
    "minItems": 2,
    "maxItems": 4,
}
QUERY: dict[str, Any] = {
    "type": "object",
    "required": ["site_id", "metrics", "date_range"],
    "additionalProperties": False,
    "properties": {
        "site_id": _TEXT,
        "metrics": {
            "type": "array",
            "items": {"enum": list(query.METRICS)},
            "minItems": 1,
            "maxItems": len(query.METRICS),
            "uniqueItems": True,
        },
        "date_range": _DATE_RANGE,
        "dimensions": {
            "type": ["array", "null"],
            "items": {"anyOf": [*_DIMENSION["anyOf"], {"enum": ["time", *filters.TIME_DIMENSIONS]}]},
            "maxItems": query.MAX_DIMENSIONS,
            "uniqueItems": True,
        },
        "filters": {"type": ["array", "null"], "items": _FILTER, "maxItems": filters.MAX_CONDITIONS},
        "order_by": {
            "type": ["array", "null"],
            "items": {"type": "array", "prefixItems": [_TEXT, {"enum": ["asc", "desc"]}], "minItems": 2, "maxItems": 2},
            "maxItems": 20,
        },
        "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": query.MAX_ROWS},
        "offset": {"type": ["integer", "null"], "minimum": 0, "maximum": 10**9},
        "pagination": {
            "type": ["object", "null"],
            "properties": {
                "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": query.MAX_ROWS},
                "offset": {"type": ["integer", "null"], "minimum": 0, "maximum": 10**9},
            },
        },
        "include": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {
                "total_rows": {"type": "boolean"},
                "time_labels": {"type": "boolean"},
                "comparisons": {
                    "anyOf": [
                        {
                            "type": "object",
                            "required": ["mode"],
                            "properties": {
                                "mode": {"enum": ["previous_period", "year_over_year"]},
                                "date_range": {"type": "null"},
                            },
                        },
                        {
                            "type": "object",
                            "required": ["mode", "date_range"],
                            "properties": {"mode": {"const": "custom"}, "date_range": _DATE_RANGE},
                        },
                        {"type": "null"},
                    ]
                },
            },
        },
    },
}
_AMOUNT = {
    "type": "object",
    "required": ["value", "currency", "long"],
    "properties": {"value": {"type": "number"}, "currency": _TEXT, "long": _TEXT},
}
_METRICS = {"type": "array", "items": {"anyOf": [{"type": ["number", "null"]}, _AMOUNT]}}
RESPONSE: dict[str, Any] = {
    "type": "object",
    "required": ["results", "meta", "query"],
    "properties": {
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["metrics", "dimensions"],
                "properties": {
                    "metrics": _METRICS,
                    "dimensions": {"type": "array", "items": _TEXT},
                    "comparison": {
                        "type": "object",
                        "required": ["metrics", "dimensions", "change"],
                        "properties": {
                            "metrics": _METRICS,
                            "dimensions": {"type": "array", "items": _TEXT},
                            "change": {"type": "array", "items": {"type": ["number", "null"]}},
                        },
                    },
                },
            },
        },
        "meta": {"type": "object"},
        "query": {"type": "object", "description": "The query with all defaults filled in."},
    },
}


def paths(errors: dict[str, Any], references: dict[str, Any], headers: dict[str, Any]) -> dict[str, Any]:
    """Return the paths of the Stats API.

    `errors` are the error responses by status, `references` those to the schemas `query` and `answer`, and `headers`
    the headers of each response.
    """
    operation = {
        "tags": ["stats"],
        "security": [{"key": []}],
        "responses": {
            "200": {
                "description": "The results.",
                "headers": headers,
                "content": {"application/json": {"schema": references["answer"]}},
            },
            **errors,
        },
        "requestBody": {"required": True, "content": {"application/json": {"schema": references["query"]}}},
    }
    realtime = {
        "operationId": "realtime",
        "tags": ["stats"],
        "summary": "Number of active visitors",
        "security": [{"key": []}],
        "parameters": [{"name": "site_id", "in": "query", "required": True, "schema": _TEXT}],
        "responses": {
            "200": {
                "description": "The visitors of the last 5 minutes.",
                "headers": headers,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["active_visitors"],
                            "properties": {"active_visitors": {"type": "integer", "minimum": 0}},
                        }
                    }
                },
            },
            **{status: errors[status] for status in ("400", "401", "403", "404", "503")},
        },
    }
    summary = "Query statistics, as in Plausible's Stats API v2"
    return {
        "/api/v1/stats/query": {"post": {"operationId": "stats_query", "summary": summary, **operation}},
        "/api/v2/query": {"post": {"operationId": "stats_query_v2", "summary": summary, **operation}},
        "/api/v1/stats/realtime": {"get": realtime},
    }
