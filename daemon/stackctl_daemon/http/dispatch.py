"""From a parsed header to an answer: route, permission, body, handler, event.

Refuses to touch the socket. The one place where an error becomes an answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from dataclasses import dataclass, field
from urllib.parse import unquote

from stackctl.contracts.event import Event
from stackctl.errors import Invalid, NotFound, StackctlError, TimedOut, TooLarge
from stackctl_daemon.events import EventSink, new_event
from stackctl_daemon.http import answer as answers
from stackctl_daemon.http import decode
from stackctl_daemon.http.answer import Answer
from stackctl_daemon.http.auth import Gate, Peer
from stackctl_daemon.http.registry import ErrorShape, Registry, Reply, Request, Route
from stackctl_daemon.http.spent import Spent, of_error
from stackctl_daemon.http.spent import headers as spent_headers
from stackctl_daemon.ids import random_hex
from stackctl_daemon.telemetry import request_id as current_request_id

log = logging.getLogger(__name__)

RECORD_TIMEOUT_S = 30.0
UNMATCHED = "http.unmatched"
_NOTHING = Spent()
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(slots=True)
class Call:
    """One request between its header and the end of its answer."""

    id: str
    method: str
    peer: Peer
    began_s: float = field(default_factory=time.monotonic)
    path: str = ""
    query: str = ""
    route: Route | None = None
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    refusal: Answer | None = None
    """Set when the header alone decides the answer."""
    error_code: str = ""
    spent: Spent | None = None
    recorded: bool = False

    @property
    def max_body_bytes(self) -> int:
        """Cap of the body; none is read for what is refused."""
        return self.route.max_body_bytes if self.route is not None else 0

    @property
    def ends_with_peer(self) -> bool:
        """Nobody wants what comes of it once the peer has closed its side."""
        return self.route is not None and self.route.ends_with_peer


class Dispatcher:
    """Runs calls through the registry; every call becomes an event."""

    def __init__(self, registry: Registry, sink: EventSink, access: Gate) -> None:
        self.registry = registry
        self.sink = sink
        self.access = access

    def plan(self, method: str, target: bytes, headers: dict[str, str], peer: Peer) -> Call:
        """Decide by the header alone; never raises."""
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else random_hex(8)
        call = Call(request_id, method, peer, headers=headers)
        try:
            call.path, call.query = decode.split_target(target)
            self.access.admit(peer, headers)
            coding = headers.get("content-encoding", "identity").lower()
            found = self.registry.match(method, call.path)
            taken = found[0].encodings if isinstance(found, tuple) else ()
            if coding != "identity" and coding not in taken:
                if isinstance(found, tuple):
                    call.route = found[0]
                expected = " or ".join(taken) or "none"
                plain = Invalid(f'the content encoding "{coding[:40]}", expected {expected}')
                known = ", ".join((*taken, "identity"))
                self.refuse(call, plain, status=415, header=("Accept-Encoding", known))
                return call
            if isinstance(found, list):
                error = Invalid(f"{call.path} does not allow {method}, only {', '.join(found)}")
                allow = ("Allow", ", ".join(sorted(found)))
                self.refuse(call, error, status=405, header=allow)
                return call
            call.route, params = found
            self.access.require(peer, call.route.permission)
            call.params = decode.path_params(params)
            length = headers.get("content-length", "")
            if length.isdecimal() and int(length) > call.max_body_bytes:
                raise too_large(call)
        except NotFound as err:
            err.message = f'no route "{unquote(call.path, errors="replace")[:200]}"'
            self.refuse(call, err)
        except StackctlError as err:
            self.refuse(call, err)
        return call

    def refuse(
        self,
        call: Call,
        error: StackctlError,
        *,
        status: int = 0,
        header: tuple[str, str] | None = None,
    ) -> None:
        """Answer the call with an error, without its handler."""
        call.error_code = error.code
        call.refusal = answers.of_error(
            error, call.id, status=status, shape=self._shape(call), asked=call.headers
        )
        if header:
            call.refusal.headers.append(header)
        if error.status == 401:
            call.refusal.headers.append(("WWW-Authenticate", "Bearer"))

    async def answer(self, call: Call, raw: bytes | bytearray) -> Answer:
        """Run the handler and give its answer; only cancellation passes through."""
        if call.refusal is not None:
            return call.refusal
        token = current_request_id.set(call.id)
        try:
            answer = await self._run(call, raw)
            if call.route is not None and call.route.durable and answer.stream is None:
                answer = await self._record(call, answer)
            return answer
        except StackctlError as err:
            self.failed(call, err)
            return answers.of_error(err, call.id, shape=self._shape(call), asked=call.headers)
        except Exception as err:
            # The edge: an unknown error is our bug; the caller gets an id to find it by.
            call.error_code = StackctlError.code
            name = call.route.name if call.route else call.path
            log.error("request_failed route=%s error=%r", name, err, exc_info=err)
            ours = StackctlError(
                f"internal error, see request {call.id} in the log", hint="stackctl logs"
            )
            return answers.of_error(ours, call.id, shape=self._shape(call), asked=call.headers)
        finally:
            current_request_id.reset(token)

    def failed(self, call: Call, error: StackctlError) -> None:
        """Note how a call failed, for its event."""
        call.error_code = error.code
        if error.model:
            call.spent = of_error(error)

    def ended(self, call: Call, *, items: int = 0) -> None:
        """Emit the call's event, after its answer went out; once, and not after `record`."""
        if not call.recorded:
            call.recorded = True
            self.sink.emit(self._event(call, items))

    def _shape(self, call: Call) -> ErrorShape | None:
        return call.route.errors_as if call.route is not None else self.registry.shape(call.path)

    async def _run(self, call: Call, raw: bytes | bytearray) -> Answer:
        route = call.route
        assert route is not None  # noqa: S101 - a call without a route carries its refusal
        request = Request(
            id=call.id,
            method=route.method,
            path=call.path,
            params=call.params,
            query=decode.query(route, call.query),
            body=decode.body(route, raw),
            uid=call.peer.uid,
            headers=call.headers,
        )
        deadline = asyncio.timeout(route.timeout_s)
        try:
            async with deadline:
                reply = await route.handler(request)
        except TimeoutError as err:
            if not deadline.expired():
                raise
            raise TimedOut(
                f"{route.name} did not end in {route.timeout_s:g} s", hint="stackctl status"
            ) from err
        call.spent = reply.spent
        return _success(call, route, reply)

    async def _record(self, call: Call, answer: Answer) -> Answer:
        """Make the call's event durable before its answer is sent."""
        event = self._event(call, 0)
        try:
            async with asyncio.timeout(RECORD_TIMEOUT_S):
                await self.sink.record([event])
        except TimeoutError as err:
            raise TimedOut(
                f"the event of {event.name} was not on disk in {RECORD_TIMEOUT_S:g} s",
                hint="stackctl status",
            ) from err
        call.recorded = True
        return answer

    @staticmethod
    def _event(call: Call, items: int) -> Event:
        spent = call.spent or _NOTHING
        return new_event(
            "request",
            call.route.name if call.route is not None else UNMATCHED,
            outcome="error" if call.error_code else "ok",
            error_code=call.error_code,
            duration_s=time.monotonic() - call.began_s,
            request_id=call.id,
            uid=call.peer.uid,
            items=spent.inputs or items,
            tokens=spent.tokens,
            model=spent.model,
            device=spent.device,
            attributes=spent.attributes if call.spent else {},
        )


def too_large(call: Call) -> TooLarge:
    """Make the error of a body above the call's cap."""
    name = call.route.name if call.route is not None else call.path
    return TooLarge(f"the body of {name} is above {call.max_body_bytes} bytes")


def _success(call: Call, route: Route, reply: Reply) -> Answer:
    # A handler that leaves Reply.status alone means the route's own.
    status = route.status if reply.status == 200 else reply.status
    headers = list(reply.headers)
    if reply.spent is not None:
        headers += spent_headers(reply.spent)
    if reply.stream is not None:
        return Answer(
            status,
            call.id,
            stream=reply.stream,
            headers=headers,
            content_type=reply.content_type,
            shape=route.errors_as,
        )
    if reply.body is None:
        return Answer(204 if status == 200 else status, call.id, headers=headers)
    body = reply.body
    payload = body if isinstance(body, bytes) else answers.encode(body)
    return Answer(status, call.id, payload, headers=headers, content_type=reply.content_type)
