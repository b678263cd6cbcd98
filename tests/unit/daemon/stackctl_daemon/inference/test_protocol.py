from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl_daemon.inference import protocol as wire


@given(st.integers(0, 2**40), st.lists(st.text()), st.binary())
def test_frames_come_back_as_they_were(number: int, texts: list[str], body: bytes) -> None:
    command = wire.Run(number, "key", "batch", texts=texts)

    frame = wire.pack(command, body)
    header, rest = wire.sizes(frame[:8])

    assert wire.read_command(frame[8 : 8 + header]) == command
    assert frame[8 + header :] == body
    assert rest == len(body)


def test_absurd_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="frame of"):
        wire.sizes(b"\xff" * 8)
