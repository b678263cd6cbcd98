"""The one list of routes: name, permission, body, reply, errors; refuses duplicates.

Everything else is derived from it: dispatch, authorisation, OpenAPI, request events.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from stackctl.errors import NotFound, StackctlError

Permission = Literal["read", "operate", "admin"]
Method = Literal["GET", "POST", "PUT", "DELETE"]


@dataclass(frozen=True, slots=True)
class Query:
    """One query-string parameter."""

    name: str
    type: type[int] | type[float] | type[str] | type[bool]
    default: Any  # Any: whatever ``type`` says
    summary: str
    minimum: float | None = None
    maximum: float | None = None


@dataclass(slots=True)
class Request:
    """A request after its header, body and permission were checked."""

    id: str
    method: Method
    path: str
    params: dict[str, str]
    """Values of the ``{name}`` parts of the route's path."""
    query: dict[str, Any]
    """Parsed by the route's ``queries``, defaults filled in."""
    body: Any
    """An instance of the route's ``body`` Struct, or None."""
    uid: int
    """The peer's user id, from SO_PEERCRED."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler gives: a Struct to encode, or a stream of Structs (JSON lines)."""

    body: Any = None
    status: int = 200
    stream: AsyncIterator[Any] | None = None


Handler = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the control API."""

    name: str
    """``noun.verb``; the operationId and the name of its events."""
    method: Method
    path: str
    """``/v1/noun/{id}``."""
    permission: Permission
    handler: Handler
    summary: str
    body: type | None = None
    reply: type | None = None
    status: int = 200
    """Status of success."""
    stream: bool = False
    """The reply is JSON lines of ``reply``."""
    queries: tuple[Query, ...] = ()
    errors: tuple[type[StackctlError], ...] = ()
    """What it may raise beyond the edge's own (400, 403, 413, 429, 504)."""
    max_body_bytes: int = 1 << 20
    durable: bool = False
    """Answer only after the request's own event is on disk (writes)."""
    timeout_s: float = 60.0


@dataclass(slots=True)
class Registry:
    """Routes by method and path."""

    routes: list[Route] = field(default_factory=list)
    _patterns: list[tuple[re.Pattern[str], Route]] = field(default_factory=list)

    def add(self, *routes: Route) -> None:
        """Add routes.

        Raises:
            ValueError: a name, or a method and path, is there already.
        """
        for route in routes:
            for old in self.routes:
                if old.name == route.name or (old.method, old.path) == (route.method, route.path):
                    raise ValueError(f"route {route.name} is registered twice")
            self.routes.append(route)
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(route.path))
            self._patterns.append((re.compile(pattern), route))

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | list[str]:
        """Give the route and its path parameters, or the methods that the path does allow.

        Raises:
            NotFound: no route has this path.
        """
        allowed: list[str] = []
        for pattern, route in self._patterns:
            found = pattern.fullmatch(path)
            if found and route.method == method:
                return route, found.groupdict()
            if found:
                allowed.append(route.method)
        if allowed:
            return allowed
        raise NotFound(f'no route "{path}"', hint="stackctl doctor")
