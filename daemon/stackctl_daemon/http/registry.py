"""The one list of routes: name, permission, body, reply, errors; refuses duplicates.

Everything else is derived from it: dispatch, authorisation, OpenAPI, request events.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stackctl.errors import NotFound, StackctlError
from stackctl_daemon.http.spent import Spent

Permission = Literal["read", "operate", "admin"]
Method = Literal["GET", "POST", "PUT", "DELETE"]
Listener = Literal["control", "api"]
"""The Unix socket, and the TCP port that serves other people's protocols."""


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """How a protocol writes an error."""

    make: Callable[[StackctlError, str, int], Any]
    """From the error, the request's id and the status: what is encoded as JSON."""
    type: type
    """Struct of what ``make`` gives."""
    encode: Callable[[Any, Mapping[str, str]], tuple[bytes, str]] | None = None
    """From what ``make`` gave and the request's header: payload and content type; None: JSON."""
    also_types: tuple[str, ...] = ()
    """Content types beside JSON that ``encode`` gives."""


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
    """An instance of the route's ``body`` Struct, the bytes of a ``raw`` one, or None."""
    uid: int
    """The peer's user id, from SO_PEERCRED; on the API's port that of the token's owner."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name; a field given twice is joined by a comma."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler gives: a Struct to encode, bytes, or a stream of either.

    A stream of Structs goes out as JSON lines, one of bytes as it is.
    """

    body: Any = None
    status: int = 200
    stream: AsyncIterator[Any] | None = None
    content_type: str = ""
    """Empty: JSON, JSON lines for a stream."""
    headers: Sequence[tuple[str, str]] = ()
    spent: Spent | None = None
    """What it took, for header and event; the handler of a stream fills it in at its end."""


Handler = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation."""

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
    raw: str = ""
    """Content type of a body that the handler reads itself, as bytes; instead of ``body``."""
    also_raw: tuple[str, ...] = ()
    """Other content types of such a body."""
    encodings: tuple[str, ...] = ()
    """Content codings of a body, beside ``identity``, that the handler undoes itself."""
    also_replies: tuple[str, ...] = ()
    """Content types of success beside JSON."""
    errors_as: ErrorShape | None = None
    """None: the control API's own."""
    listeners: tuple[Listener, ...] = ("control",)
    runs_model: bool = False
    """A reply says in its header where its time went, and on which device."""
    ends_with_peer: bool = False
    """Cancel the handler as soon as the peer closes its side."""
    durable: bool = False
    """Answer only after the request's own event is on disk (writes)."""
    timeout_s: float = 60.0


@dataclass(slots=True)
class Registry:
    """Routes by method and path."""

    routes: list[Route] = field(default_factory=list)
    shapes: list[tuple[str, ErrorShape]] = field(default_factory=list)
    """Error shapes by path prefix, for what meets no route; the first that fits."""
    _patterns: list[tuple[re.Pattern[str], Route]] = field(default_factory=list)
    _plain: dict[tuple[str, str], Route] = field(default_factory=dict)
    """Routes whose path has no parameter, by method and path: most requests are for one."""

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
            if "{" not in route.path:
                self._plain[route.method, route.path] = route
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(route.path))
            self._patterns.append((re.compile(pattern), route))
        # Where a path fits two, the one that spells it out is meant.
        self._patterns.sort(key=lambda known: [p[:1] == "{" for p in known[1].path.split("/")])

    def shape(self, path: str) -> ErrorShape | None:
        """Give how an error of a path without a route is written; None: our own way."""
        return next((shape for prefix, shape in self.shapes if path.startswith(prefix)), None)

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | list[str]:
        """Give the route and its path parameters, or the methods that the path does allow.

        Raises:
            NotFound: no route has this path.
        """
        if plain := self._plain.get((method, path)):
            return plain, {}
        allowed: list[str] = []
        for pattern, route in self._patterns:
            found = pattern.fullmatch(path)
            if not found:
                continue
            # HEAD is GET without its body (RFC 9110, section 9.3.2), which a stream is not.
            head = route.method == "GET" and not route.stream
            if route.method == method or (head and method == "HEAD"):
                return route, found.groupdict()
            allowed += [route.method, "HEAD"] if head else [route.method]
        if allowed:
            return allowed
        raise NotFound(f'no route "{path}"', hint="stackctl doctor")
