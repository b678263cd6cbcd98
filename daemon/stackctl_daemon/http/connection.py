"""One HTTP/1.1 connection: parsing, deadlines, caps, writing; refuses to know any route.

Requests of a connection are answered in order. A refused body is read away for a moment after
the answer, so that the peer gets to read it (RFC 9112, section 9.6).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import httptools

from stackctl.errors import Invalid, StackctlError, TimedOut, Unreachable
from stackctl.settings import DaemonSettings
from stackctl_daemon.http import answer as answers
from stackctl_daemon.http.answer import Answer
from stackctl_daemon.http.auth import Peer
from stackctl_daemon.http.dispatch import Call, Dispatcher, too_large
from stackctl_daemon.tasks import TaskOwner

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 64 << 10
MAX_PIPELINED = 64
LINGER_S = 2.0
WRITE_TIMEOUT_S = 60.0
"""A reader that takes nothing for this long is cut off."""


class Host(Protocol):
    """What a connection needs of its server."""

    settings: DaemonSettings
    dispatcher: Dispatcher
    tasks: TaskOwner
    draining: bool

    def closed(self, connection: Connection) -> None:
        """Forget a connection that has ended."""


@dataclass(slots=True)
class _Message:
    """A request as the parser fills it."""

    url: bytearray = field(default_factory=bytearray)
    headers: dict[str, str] = field(default_factory=dict)
    header_bytes: int = 0
    """Of the fields that were parsed."""
    received_bytes: int = 0
    """Of the reads that began and ended inside the header."""
    body: bytearray = field(default_factory=bytearray)
    call: Call | None = None
    keep_alive: bool = True
    http_1_0: bool = False
    complete: bool = False


class Connection(asyncio.Protocol):
    """The server's side of one accepted socket."""

    def __init__(self, host: Host, peer: Peer) -> None:
        self._host = host
        self.peer = peer
        self._parser: Any = httptools.HttpRequestParser(self)  # Any: it has no types
        self._transport: asyncio.Transport | None = None
        self._message: _Message | None = None
        self._waiting: deque[_Message] = deque()
        self._task: asyncio.Task[None] | None = None
        self._serving: Call | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        """By the loop's clock; None: nothing is waited for."""
        self._writable = asyncio.Event()
        self._writable.set()
        self._streaming = False
        self._deaf = False  # what still comes in is read away
        self._eof = False
        self._started = False  # bytes of a request not yet whole have come in

    # -- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the first header."""
        self._transport = cast("asyncio.Transport", transport)
        self._arm(self._host.settings.header_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; anything malformed is answered 400 and ends the connection."""
        if self._deaf:
            return
        self._started = True
        before = self._message
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # We speak HTTP/1.1 alone: the request is answered, then the connection ends.
            self._deaf = True
        except httptools.HttpParserError as err:
            cause = err.__context__
            error = (
                cause if isinstance(cause, StackctlError) else Invalid(f"malformed HTTP: {err}")
            )
            self._reject(error)
            return
        message = self._message
        if message is not None and message is before and message.call is None:
            # What came in counts, so that a field that never ends does too; but not the read
            # that a message begins in, whose first bytes may be another's.
            message.received_bytes += len(data)
            if message.received_bytes > MAX_HEADER_BYTES:
                self._reject(Invalid(f"the header is above {MAX_HEADER_BYTES} bytes"))

    def eof_received(self) -> bool:
        """Keep the writing side open while answers are under way."""
        self._eof = True
        if self._serving is not None and self._serving.ends_with_peer:
            return False
        return self._task is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """End what only this peer waits for; a durable write goes on, unless it ends with it."""
        self._disarm()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deaf = True
        self._writable.set()
        route = self._serving.route if self._serving is not None else None
        goes_on = route is not None and route.durable and not route.ends_with_peer
        if self._task is not None and (self._streaming or not goes_on):
            self._task.cancel()
        self._host.closed(self)

    def pause_writing(self) -> None:
        """The peer reads slower than we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The peer caught up."""
        self._writable.set()

    # -- httptools callbacks --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._message = _Message()
        self._started = True  # also where it begins in the read that another ends in

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        self._current.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field."""
        message = self._current
        message.header_bytes += len(name) + len(value)
        if message.call is None:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
            # Joined as RFC 9110, section 5.3, has it: a second Host must not hide the first.
            before = message.headers.get(key)
            message.headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        """Decide what the header alone decides, and start the clock for the body."""
        message = self._current
        if message.header_bytes + len(message.url) > MAX_HEADER_BYTES:
            raise Invalid(f"the header is above {MAX_HEADER_BYTES} bytes")
        message.http_1_0 = self._parser.get_http_version() == "1.0"
        message.keep_alive = self._parser.should_keep_alive()
        method = self._parser.get_method().decode("ascii")
        message.call = self._host.dispatcher.plan(
            method, bytes(message.url), message.headers, self.peer
        )
        self._arm(self._host.settings.body_timeout_s)
        expects = message.headers.get("expect", "").lower() == "100-continue"
        if expects and message.call.refusal is None and self._task is None:
            self._write(answers.CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Count and keep a piece of the body."""
        message = self._message
        call = message.call if message is not None else None
        if message is None or call is None or self._deaf:
            return
        if call.refusal is None:
            if len(message.body) + len(body) <= call.max_body_bytes:
                message.body += body
                return
            self._host.dispatcher.refuse(call, too_large(call))
        # A refused body is not waited for.
        message.body.clear()
        message.keep_alive = False
        self._finish(message)

    def on_message_complete(self) -> None:
        """Hand the whole request on."""
        if not self._deaf:
            self._finish(self._current)

    # -- serving --------------------------------------------------------------------------------

    @property
    def _current(self) -> _Message:
        if self._message is None:
            raise Invalid("malformed HTTP: header outside a request")
        return self._message

    @property
    def idle(self) -> bool:
        """No request is under way."""
        return self._task is None and not self._started

    def drain(self) -> None:
        """End when idle, or after the answer under way; a stream ends with an error line."""
        if self._task is None:
            self._close()
        elif self._streaming:
            self._task.cancel()

    def abort(self) -> None:
        """End at once."""
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, message: _Message) -> None:
        if message.complete:
            return
        message.complete = True
        self._message = None
        self._started = False
        self._disarm()
        self._waiting.append(message)
        if not message.keep_alive:
            self._deaf = True
        if self._task is None:
            self._task = self._host.tasks.spawn(self._serve(), name="http connection")
        elif len(self._waiting) > MAX_PIPELINED and self._transport is not None:
            self._transport.pause_reading()

    async def _serve(self) -> None:
        try:
            while self._waiting and not self._closing:
                message = self._waiting.popleft()
                await self._one(message)
                if not message.keep_alive or self._host.draining:
                    self._linger()
                    return
            if self._eof:
                self._close()
            elif self._transport is not None and not self._closing:
                self._transport.resume_reading()
                if self._deaf:
                    self._linger()
                elif self._message is None or self._message.call is None:
                    self._arm(self._host.settings.header_timeout_s)
                # else the deadline of a body that is on its way stands
        finally:
            self._task = None
            self._streaming = False

    async def _one(self, message: _Message) -> None:
        call = message.call
        assert call is not None  # noqa: S101 - set when the header was complete
        items = 0
        if self._eof and call.ends_with_peer:
            self._host.dispatcher.ended(call)
            self._close()
            return
        self._serving = call
        try:
            answer = await self._host.dispatcher.answer(call, message.body)
            if answer.close or self._host.draining:
                message.keep_alive = False
            if answer.stream is None:
                close = not message.keep_alive
                payload = b"" if call.method == "HEAD" else answer.payload
                self._write(answers.head(answer, chunked=False, close=close) + payload)
                await self._drained()
            else:
                items = await self._stream(call, message, answer)
        except asyncio.CancelledError:
            call.error_code = call.error_code or "interrupted"
            raise
        finally:
            self._serving = None
            self._host.dispatcher.ended(call, items=items)

    async def _stream(self, call: Call, message: _Message, answer: Answer) -> int:
        chunked = not message.http_1_0
        if not chunked:
            message.keep_alive = False
        self._streaming = True
        items = 0
        source = answer.stream
        assert source is not None  # noqa: S101 - the caller looked
        self._write(answers.head(answer, chunked=chunked, close=not message.keep_alive))

        def put(body: Any) -> None:
            data = answers.line(body)
            self._write(answers.chunk(data) if chunked else data)

        try:
            async for item in source:
                put(item)
                items += 1
                await self._drained()
        except asyncio.CancelledError:
            if self._host.draining and not self._closing:
                put(answers.last_line(answer, Unreachable("stackctld is ending")))
                self._end_stream(chunked)
            raise
        except Exception as err:
            # The status is sent: the error goes as the last line, in its one shape.
            ours = err if isinstance(err, StackctlError) else StackctlError("internal error")
            if ours is not err:
                log.error("stream_failed path=%s error=%r", call.path, err, exc_info=err)
            self._host.dispatcher.failed(call, ours)
            put(answers.last_line(answer, ours))
        finally:
            self._streaming = False
            close = getattr(source, "aclose", None)
            if close is not None:
                with suppress(asyncio.CancelledError):
                    await close()
        if chunked:
            self._write(answers.LAST_CHUNK)
        return items

    def _end_stream(self, chunked: bool) -> None:
        if chunked:
            self._write(answers.LAST_CHUNK)
        self._close()

    # -- writing and ending ---------------------------------------------------------------------

    @property
    def _closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def _write(self, data: bytes) -> None:
        if not self._closing and self._transport is not None:
            self._transport.write(data)

    async def _drained(self) -> None:
        if self._writable.is_set():
            return
        try:
            await asyncio.wait_for(self._writable.wait(), WRITE_TIMEOUT_S)
        except TimeoutError:
            self.abort()

    def _reject(self, error: StackctlError, *, status: int = 0) -> None:
        """Answer what is not a whole request, after the answers under way, and end."""
        self._deaf = True
        message = self._message or _Message()
        self._message = message
        if message.call is None:
            message.call = self._host.dispatcher.plan("GET", b"/", message.headers, self.peer)
            message.call.route = None
        self._host.dispatcher.refuse(message.call, error, status=status)
        message.keep_alive = False
        self._finish(message)

    def _arm(self, delay_s: float) -> None:
        """Set the deadline; a timer that ends before it is left alone, and looks again then."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + delay_s
        if self._timer is not None:
            if self._timer.when() <= self._due:
                return
            self._timer.cancel()
        self._timer = loop.call_at(self._due, self._look)

    def _disarm(self) -> None:
        self._due = None

    def _look(self) -> None:
        self._timer = None
        if self._due is None:
            return
        loop = asyncio.get_running_loop()
        # A loop may be a tick of its clock early.
        if loop.time() + 1e-3 < self._due:
            self._timer = loop.call_at(self._due, self._look)
            return
        self._due = None
        self._deadline()

    def _deadline(self) -> None:
        if self._deaf or not self._started:
            self._close()
            return
        what = "header" if self._message is None or self._message.call is None else "body"
        self._reject(TimedOut(f"the {what} did not arrive in time"), status=408)

    def _linger(self) -> None:
        """Say that nothing more comes, and read away what does for a moment."""
        self._deaf = True
        if self._transport is None or self._closing:
            return
        if self._eof:
            self._close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        self._arm(LINGER_S)

    def _close(self) -> None:
        self._disarm()
        if self._transport is not None:
            self._transport.close()
