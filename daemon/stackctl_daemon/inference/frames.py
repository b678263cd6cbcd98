"""Frames out of a stream of bytes; refuses to read any.

Reads are as large as what came, not as the parts of a frame: a burst of answers costs one
system call and one turn of the loop.
"""

from __future__ import annotations

import queue
import select
import socket
import time

from stackctl_daemon.inference import protocol as wire

READ_BYTES = 1 << 18
_REST_S = 0.02
"""How long the rest of a frame is waited for while there is something to compute."""


class Frames:
    """Bytes as they come, cut into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0
        self._wanted = wire.PREFIX.size

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data

    @property
    def begun(self) -> bool:
        """A part of a frame is here."""
        return len(self._buffer) > self._start

    def next(self) -> tuple[bytes, bytes] | None:
        """Give header and body of the next frame; None until it is whole.

        Raises:
            ValueError: nothing of ours is that large.
        """
        start, prefix = self._start, wire.PREFIX.size
        have = len(self._buffer) - start
        if have >= self._wanted:
            with memoryview(self._buffer) as view:
                header, body = wire.sizes(view[start : start + prefix])
                self._wanted = prefix + header + body
                if have >= self._wanted:
                    middle, end = start + prefix + header, start + self._wanted
                    found = bytes(view[start + prefix : middle]), bytes(view[middle:end])
                    self._start, self._wanted = end, prefix
                    return found
        if start:
            del self._buffer[:start]
            self._start = 0
        return None


class Inbox:
    """Commands as the daemon sends them, read by whoever asks: no thread, and no hand-over.

    What is not asked for waits in the socket, and then with the daemon, which bounds it.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._frames = Frames()
        self._ended = False
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def get(self, *, block: bool) -> tuple[float, wire.Command, bytes] | None:
        """Give when the next command was sent, the command and its body; None at the end.

        Raises:
            queue.Empty: ``block`` is false and none is here.
        """
        while (frame := self._frames.next()) is None:
            if self._ended:
                return None
            if not block and not self._readable(_REST_S if self._frames.begun else 0.0):
                raise queue.Empty
            data = self._channel.recv(READ_BYTES)
            self._ended = not data
            self._frames.feed(data)
        command = wire.read_command(frame[0])
        sent = command.sent if isinstance(command, wire.Run) else 0.0
        return sent or time.monotonic(), command, frame[1]

    def empty(self) -> bool:
        """Tell whether nothing waits."""
        return self._ended or not (self._frames.begun or self._readable(0.0))

    def _readable(self, timeout_s: float) -> bool:
        return bool(self._poll.poll(timeout_s * 1000))
