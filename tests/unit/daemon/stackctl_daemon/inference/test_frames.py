"""Frames are whole or not there, however the bytes come."""

from __future__ import annotations

import queue
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.frames import Frames, Inbox


@given(bodies=st.lists(st.binary(max_size=40), max_size=8), step=st.integers(1, 60))
def test_frames_come_out_as_they_went_in(bodies: list[bytes], step: int) -> None:
    sent = b"".join(wire.pack(wire.Forget(i), body) for i, body in enumerate(bodies))
    frames, found = Frames(), []

    for start in range(0, len(sent), step):
        frames.feed(sent[start : start + step])
        while frame := frames.next():
            found.append((wire.read_command(frame[0]), frame[1]))

    assert found == [(wire.Forget(i), body) for i, body in enumerate(bodies)]
    assert not frames.begun


def test_a_frame_larger_than_any_is_refused() -> None:
    frames = Frames()
    frames.feed(wire.PREFIX.pack(wire.MAX_FRAME_BYTES, 1))

    with pytest.raises(ValueError, match="frame of"):
        frames.next()


def test_an_inbox_gives_what_came_and_then_the_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        inbox = Inbox(theirs)
        assert inbox.empty()
        with pytest.raises(queue.Empty):
            inbox.get(block=False)
        ours.sendall(wire.pack(wire.Run(1, "m", "batch", sent=2.5), b"body"))
        ours.sendall(wire.pack(wire.Forget(1))[:5])

        first = inbox.get(block=True)

        assert first == (2.5, wire.Run(1, "m", "batch", sent=2.5), b"body")
        assert not inbox.empty()
        with pytest.raises(queue.Empty):  # the rest of a frame is not waited for without end
            inbox.get(block=False)
        ours.close()
        assert inbox.get(block=True) is None
        assert inbox.empty()
