"""OpenAPI 3.1 out of the registry and the Structs; refuses to describe what is not there."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from stackctl import __version__
from stackctl.contracts.error import ErrorReply
from stackctl.errors import (
    Denied,
    Invalid,
    Overloaded,
    StackctlError,
    TimedOut,
    TooLarge,
)
from stackctl_daemon.http.answer import JSON, JSON_LINES
from stackctl_daemon.http.registry import Query, Registry, Route

Schema = dict[str, Any]  # Any: a JSON schema has no narrower type
FORM = "multipart/form-data"
_REF = "#/components/schemas/{name}"
_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}
_EDGE: dict[int, str] = {
    400: "The request is malformed, or its body or a parameter is wrong (`invalid`).",
    403: "The caller lacks the permission (`denied`).",
    404: "No such route or thing (`not_found`).",
    405: "The path does not allow the method (`invalid`).",
    408: "The header or the body did not arrive in time (`timed_out`).",
    413: "The body is above the route's cap (`too_large`).",
    429: "A bounded queue is full (`overloaded`); see Retry-After.",
    500: "Our bug (`internal`); the request id finds it in the log.",
    503: "An area or a store is not usable.",
    504: "The handler did not end in time (`timed_out`).",
    507: "There is no space left (`disk_full`).",
}
_MODEL_HEADERS: Schema = {
    "Server-Timing": {
        "description": "Milliseconds in the queue, in batches beyond its own share, and in its own"
        " computing, as `queue;dur=0.1, batch;dur=0.0, compute;dur=3.2`; not of a stream, which"
        " says it in its last line.",
        "schema": {"type": "string"},
    },
    "Stackctl-Device": {
        "description": "Ids of the devices that took part, joined by commas; not of a stream.",
        "schema": {"type": "string"},
    },
    "Stackctl-Truncated": {
        "description": "How many inputs were cut to the model's window, where any was.",
        "schema": {"type": "integer"},
    },
}
_QUEUE_HEADER: Schema = {
    "Server-Timing": {
        "description": "Milliseconds in the queue, as `queue;dur=0.1`, where it came that far.",
        "schema": {"type": "string"},
    },
}
_EDGE_ERRORS: tuple[type[StackctlError], ...] = (Invalid, Denied, TooLarge, Overloaded, TimedOut)
_EVERY = (400, 403, 404, 405, 408, 413, 429, 500, 503, 504)


def document(registry: Registry) -> Schema:
    """Give the whole document."""
    types: list[type] = [ErrorReply]
    for route in registry.routes:
        shape = route.errors_as.type if route.errors_as is not None else None
        named = (route.body, route.reply, shape)
        types += [t for t in named if t is not None and t not in types]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    for schema in components.values():
        if "description" in schema:  # before Python 3.13 a docstring keeps its indentation
            schema["description"] = inspect.cleandoc(schema["description"])
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, Schema] = {}
    for route in registry.routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stackctld control API",
            "version": __version__,
            "description": "HTTP/1.1 JSON over the daemon's Unix socket.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://localhost"}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(components.items()))},
    }


def encode(registry: Registry) -> bytes:
    """Give the document as indented JSON that does not change from run to run."""
    raw = msgspec.json.encode(document(registry), order="deterministic")
    return msgspec.json.format(raw, indent=2) + b"\n"


def _operation(route: Route, by_type: dict[type, Schema]) -> Schema:
    operation: Schema = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.name.partition(".")[0]],
        "x-permission": route.permission,
        "responses": _responses(route, by_type),
    }
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
        }
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    parameters += [_parameter(query) for query in route.queries]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": by_type[route.body]}},
        }
    elif route.raw:
        schema = {"type": "object"} if route.raw in (JSON, FORM) else {}
        content: Schema = {route.raw: {"schema": schema}}
        content |= {kind: {"schema": {"type": "object"}} for kind in route.also_raw}
        operation["requestBody"] = {"content": content}
    return operation


def _parameter(query: Query) -> Schema:
    schema: Schema = {"type": _TYPES[query.type], "default": query.default}
    low, high = ("minLength", "maxLength") if query.type is str else ("minimum", "maximum")
    if query.minimum is not None:
        schema[low] = query.minimum
    if query.maximum is not None:
        schema[high] = query.maximum
    return {
        "name": query.name,
        "in": "query",
        "required": False,
        "description": query.summary,
        "schema": schema,
    }


def _responses(route: Route, by_type: dict[type, Schema]) -> Schema:
    status = route.status
    if not (route.reply or route.stream or route.also_replies) and status == 200:
        status = 204
    success: Schema = {"description": "Success."}
    if status != 204:
        schema: Schema = by_type[route.reply] if route.reply is not None else {"type": "object"}
        json = {JSON_LINES if route.stream else JSON: {"schema": schema}}
        success["content"] = json if route.reply or not route.also_replies else {}
        success["content"] |= {kind.partition(";")[0]: {} for kind in route.also_replies}
    if route.runs_model:
        success["headers"] = _MODEL_HEADERS
    responses = {str(status): success}
    raised: dict[int, list[str]] = {}
    for error in (*route.errors, *_EDGE_ERRORS):
        raised.setdefault(error.status, []).append(error.code)
    if route.durable:
        raised.setdefault(507, []).append("disk_full")
    shape = by_type[ErrorReply if route.errors_as is None else route.errors_as.type]
    for code in sorted({*_EVERY, *raised}):
        responses[str(code)] = answer = _error(code, raised.get(code, []), shape)
        if route.errors_as is not None:
            answer["content"] |= {kind: {} for kind in route.errors_as.also_types}
        if route.runs_model and code in (Overloaded.status, TimedOut.status):
            answer["headers"] = answer.get("headers", {}) | _QUEUE_HEADER
    return responses


def _error(status: int, codes: list[str], shape: Schema) -> Schema:
    said = ", ".join(f"`{code}`" for code in sorted(set(codes)))
    answer: Schema = {
        "description": _EDGE.get(status, f"Refused: {said}."),
        "content": {JSON: {"schema": shape}},
    }
    if status == Overloaded.status:
        answer["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
        }
    return answer
