"""Our worker inside another process's thread, on a model of a few kilobytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tiny_model import POISON, TABLE, WIDTH, write_graph, write_tokenizer

from stackctl.errors import Failed
from stackctl_daemon.inference import protocol as wire
from stackctl_daemon.inference.scale_out.replica import Replica

encode = msgspec.msgpack.encode


def _load(directory: Path, *, dimensions: int = WIDTH) -> wire.Load:
    graph, tokenizer = write_graph(directory, pooled=True), write_tokenizer(directory)
    return wire.Load(
        "tiny@1", "tiny", "text-embedding", str(directory), str(graph), str(tokenizer), 8,
        dimensions,
    )  # fmt: skip


@contextmanager
def _replica(load: wire.Load, **options: float) -> Iterator[Replica]:
    replica = Replica(encode(load), **options)  # type: ignore[arg-type]
    try:
        yield replica
    finally:
        replica.close()


def _read(frame: bytes) -> tuple[wire.Report, bytes]:
    size, _ = wire.sizes(frame[: wire.PREFIX.size])
    start = wire.PREFIX.size
    return wire.read_report(frame[start : start + size]), frame[start + size :]


def test_many_requests_share_batches_and_keep_their_ids(tmp_path: Path) -> None:
    words = {"river": 1, "copper": 2, "lantern": 3, "orchard": 4}

    async def ask(replica: Replica) -> list[list[bytes]]:
        runs = [
            wire.Run(70 + number, "tiny@1", "interactive", texts=[word])
            for number, word in enumerate(words)
        ]
        return await asyncio.gather(*(replica.run(encode(run), b"") for run in runs))

    with _replica(_load(tmp_path)) as replica:
        opened, _ = _read(replica.opened())
        answers = asyncio.run(ask(replica))
        replica.check_health()

    assert isinstance(opened, wire.Loaded)
    batches = 0
    for number, (row, frames) in enumerate(zip(words.values(), answers, strict=True)):
        batches += sum(isinstance(_read(frame)[0], wire.Computed) for frame in frames)
        answer, body = _read(frames[-1])
        assert isinstance(answer, wire.Answer)
        assert answer.id == 70 + number
        np.testing.assert_allclose(np.frombuffer(body, "<f4"), TABLE[row], atol=1e-6)
    assert 1 <= batches <= len(words)


def test_an_input_that_fails_is_refused_and_the_replica_stays_sound(tmp_path: Path) -> None:
    run = wire.Run(5, "tiny@1", "interactive", texts=[POISON])

    with _replica(_load(tmp_path)) as replica:
        [frame] = asyncio.run(replica.run(encode(run), b""))
        replica.check_health()

    refused, _ = _read(frame)
    assert isinstance(refused, wire.Refused)
    assert refused.id == 5


def test_a_deadline_counts_from_now_by_the_clock_of_the_replica(tmp_path: Path) -> None:
    late = wire.Run(1, "tiny@1", "batch", texts=["river"], deadline=1e-9)
    early = wire.Run(2, "tiny@1", "batch", texts=["river"], deadline=60.0)

    with _replica(_load(tmp_path)) as replica:
        reports = [
            _read(asyncio.run(replica.run(encode(run), b""))[-1])[0] for run in (late, early)
        ]

    assert [type(report) for report in reports] == [wire.Refused, wire.Answer]


def test_a_model_that_does_not_open_is_told_and_refused(tmp_path: Path) -> None:
    load = msgspec.structs.replace(_load(tmp_path), adapter="no-such")
    run = wire.Run(1, "tiny@1", "batch", texts=["river"])

    with _replica(load) as replica:
        opened, _ = _read(replica.opened())
        refused, _ = _read(asyncio.run(replica.run(encode(run), b""))[-1])

    assert isinstance(opened, wire.LoadFailed)
    assert isinstance(refused, wire.Refused)
    assert "no-such" in opened.message
    assert refused.message == opened.message


def test_a_replica_whose_worker_ended_is_not_healthy(tmp_path: Path) -> None:
    with _replica(_load(tmp_path)) as replica:
        replica.check_health()
    began = time.monotonic()

    with pytest.raises(Failed, match="thread ended"):
        replica.check_health()
    assert time.monotonic() - began < 1
