from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stackctl.contracts.event import Event
from stackctl.errors import Failed, Overloaded
from stackctl_daemon import failpoints
from stackctl_daemon.analytics.frame import encode_frame
from stackctl_daemon.analytics.segment_log import Position, SegmentLog
from stackctl_daemon.analytics.segment_reader import count_events, read_batch


def ids(log: SegmentLog) -> list[str]:
    found: list[str] = []
    for segment in log.segments():
        path = log.path(segment)
        at, size = 0, path.stat().st_size
        while at < size:
            batch = read_batch(path, at, size)
            found += [row[0] for row in batch.rows]
            at = batch.next
    return found


def filled(directory: Path, frames: list[bytes]) -> SegmentLog:
    """A log that was closed after these frames, one segment."""
    log = SegmentLog(directory)

    async def fill() -> None:
        await asyncio.to_thread(log.open)
        for frame in frames:
            await log.append(frame)
        await asyncio.to_thread(log.close)

    asyncio.run(fill())
    return log


def test_appended_frames_are_on_disk_in_order_and_share_syncs(
    tmp_path: Path, make_events: Callable[..., list[Event]]
) -> None:
    log = SegmentLog(tmp_path / "s")

    async def main() -> None:
        await asyncio.to_thread(log.open)
        await asyncio.gather(
            *(log.append(encode_frame(make_events(3, f"b{n:03d}"))) for n in range(200))
        )
        assert len(ids(log)) == 600
        await asyncio.to_thread(log.close)

    asyncio.run(main())
    assert ids(log) == [f"b{n:03d}-{k}" for n in range(200) for k in range(3)]
    assert log.end == Position(log.segments()[-1], log.path(log.segments()[-1]).stat().st_size)


def test_segments_rotate_and_numbers_go_on_after_a_restart(
    tmp_path: Path, make_events: Callable[..., list[Event]]
) -> None:
    async def run(prefix: str) -> SegmentLog:
        log = SegmentLog(tmp_path / "s", segment_bytes=300)
        await asyncio.to_thread(log.open)
        for n in range(6):
            await log.append(encode_frame(make_events(1, f"{prefix}{n}")))
        await asyncio.to_thread(log.close)
        return log

    first = asyncio.run(run("a")).segments()
    second = asyncio.run(run("b"))
    assert len(first) > 1
    assert second.segments()[: len(first)] == first
    assert ids(second) == [f"{p}{n}-0" for p in "ab" for n in range(6)]


@pytest.mark.parametrize("cut", [1, 7, 9, 60])
def test_torn_tail_is_cut_and_the_rest_stays(
    tmp_path: Path, make_events: Callable[..., list[Event]], cut: int
) -> None:
    frames = [encode_frame(make_events(1, p)) for p in ("a", "b", "c")]
    log = filled(tmp_path / "s", frames)
    path = log.path(log.segments()[-1])
    os.truncate(path, path.stat().st_size - cut)

    again = filled(tmp_path / "s", [encode_frame(make_events(1, "d"))])
    assert ids(again) == ["a-0", "b-0", "d-0"]
    assert again.problems == []
    assert path.stat().st_size == len(frames[0]) + len(frames[1])


def test_flipped_byte_loses_one_frame_only_and_is_reported(
    tmp_path: Path, make_events: Callable[..., list[Event]]
) -> None:
    frames = [encode_frame(make_events(1, p)) for p in ("a", "b", "c")]
    log = filled(tmp_path / "s", frames)
    path = log.path(log.segments()[-1])
    data = bytearray(path.read_bytes())
    data[len(frames[0]) + 30] ^= 1
    path.write_bytes(data)

    again = SegmentLog(tmp_path / "s")
    again.open()
    again.close()
    assert ids(again) == ["a-0", "c-0"]
    assert len(again.problems) == 1
    assert "damaged" in again.problems[0]
    assert count_events(path, 0, path.stat().st_size) == 2


def test_frames_larger_than_a_read_come_back(
    tmp_path: Path, make_events: Callable[..., list[Event]]
) -> None:
    big = make_events(700, "big", attributes={"k": "v" * 8000})
    log = filled(tmp_path / "s", [encode_frame(big), encode_frame(make_events(1, "x"))])

    assert ids(log) == [f"big-{n}" for n in range(700)] + ["x-0"]


def test_full_queue_refuses_and_says_when_to_come_back(
    tmp_path: Path, make_events: Callable[..., list[Event]]
) -> None:
    frame = encode_frame(make_events(1))
    log = SegmentLog(tmp_path / "s", max_queued_bytes=len(frame) * 3)

    async def main() -> None:
        await asyncio.to_thread(log.open)
        # Gathered appends queue before the writer can take them all; some must be refused.
        results = await asyncio.gather(
            *(log.append(frame) for _ in range(2000)), return_exceptions=True
        )
        refused = [r for r in results if isinstance(r, Overloaded)]
        assert refused
        assert refused[0].retry_after_s
        await asyncio.to_thread(log.close)
        assert len(ids(log)) == len(results) - len(refused)

    asyncio.run(main())


def test_offered_events_are_written_or_counted(
    tmp_path: Path, make_events: Callable[..., list[Event]]
) -> None:
    log = SegmentLog(tmp_path / "s", max_queued_emits=10)
    good, bad = make_events(5), make_events(1, "bad", time_us=-1)

    assert not log.offer(good[0])  # not open yet
    log.open()
    taken = [log.offer(e) for e in [*good[:2], *bad, *good[2:]]]
    log.close()
    assert not log.offer(good[0])
    assert all(taken)
    assert ids(log) == [e.id for e in good]
    assert log.dropped == 3


def test_closed_log_refuses(tmp_path: Path, make_events: Callable[..., list[Event]]) -> None:
    log = filled(tmp_path / "s", [])

    with pytest.raises(Failed, match="closed"):
        asyncio.run(log.append(encode_frame(make_events(1))))
    assert log.segments() == []


FILE_LIMIT = """
import asyncio, resource, sys
from pathlib import Path
from stackctl.contracts.event import Event
from stackctl.errors import DiskFull
from stackctl_daemon import failpoints
from stackctl_daemon.analytics.frame import encode_frame
from stackctl_daemon.analytics.segment_log import SegmentLog

def frame(n):
    return encode_frame([Event(id=str(n), kind="user", name="n", time_us=1)])

async def main():
    log = SegmentLog(Path(sys.argv[1]))
    await asyncio.to_thread(log.open)
    await log.append(frame(0))
    size = log.end.offset
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    results = await asyncio.gather(*(log.append(frame(n)) for n in (1, 2)), return_exceptions=True)
    assert [type(r) for r in results] == [DiskFull, DiskFull], results
    assert log.path(log.segments()[-1]).stat().st_size == size
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await log.append(frame(3))
    await asyncio.to_thread(log.close)

asyncio.run(main())
"""


def test_refused_write_fails_all_who_wait_is_taken_back_and_heals(tmp_path: Path) -> None:
    """The kernel's file-size limit stands in for a full disk: the same write fails half-way."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY

    done = subprocess.run(
        [sys.executable, "-c", FILE_LIMIT, str(tmp_path / "s")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log = SegmentLog(tmp_path / "s")
    assert ids(log) == ["0", "3"]


@pytest.mark.parametrize("also", ["", ";segment.rotate.before_unlink=error:EIO"])
def test_a_segment_that_could_not_be_made_does_not_stop_the_next(
    tmp_path: Path, make_events: Callable[..., list[Event]], also: str
) -> None:
    """Its file could not be removed either, and its number was tried again for ever."""
    log = SegmentLog(tmp_path / "s")
    failpoints.arm(f"segment.rotate.before_sync=error:EIO{also}")

    async def main() -> None:
        await asyncio.to_thread(log.open)
        with pytest.raises(Failed, match="Input/output"):
            await log.append(encode_frame(make_events(1, "a")))
        await log.append(encode_frame(make_events(1, "b")))
        await asyncio.to_thread(log.close)

    try:
        asyncio.run(main())
    finally:
        failpoints.arm("")
    assert ids(log) == ["b-0"]


@pytest.mark.parametrize("at", ["length", "payload"])
def test_flipped_byte_in_the_last_frame_is_damage_and_no_torn_write(
    tmp_path: Path, make_events: Callable[..., list[Event]], at: str
) -> None:
    frames = [encode_frame(make_events(1, p)) for p in ("a", "b")]
    log = filled(tmp_path / "s", frames)
    path = log.path(log.segments()[-1])
    data = bytearray(path.read_bytes())
    data[len(frames[0]) + (0 if at == "length" else 40)] ^= 0x80
    path.write_bytes(data)

    again = filled(tmp_path / "s", [])
    assert ids(again) == ["a-0"]
    assert len(again.problems) == 1
    assert "damaged" in again.problems[0]
