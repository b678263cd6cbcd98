"""Pulls over real sockets, from a server made here."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_source import CONTENT, Area, Server, entry, serving
from waiting import until_on_loop

from stackctl.errors import DiskFull, ModelCorrupt, ModelFetchFailed, NotFound


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def test_pull_fetches_verifies_and_reports_bytes(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    assert area.state() == "absent"

    area.pull("small")

    total = sum(map(len, CONTENT.values()))
    assert area.state() == "present"
    assert area.names() == ["tokenizer.json", "verified.json", "weights.onnx"]
    assert area.jobs.reports[-1] == (total, total, "byte")
    assert asyncio.run(area.service.verify("tiny")).ok
    ready = asyncio.run(area.service.ready("small"))
    assert ready.graph.read_bytes() == CONTENT["weights.onnx"]


def test_cut_transfer_goes_on_where_it_ended(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    server.cut_after = 1_000_000
    with pytest.raises(ModelFetchFailed, match=r"weights\.onnx"):
        area.pull()
    assert area.state() == "absent"
    server.cut_after = None

    area.pull()

    assert "bytes=1000000-" in server.ranges
    assert area.state() == "present"


def test_cancelled_pull_ends_promptly_and_resumes(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    server.hold = threading.Event()

    async def cancel() -> None:
        pulling = asyncio.ensure_future(area.service.pull("tiny"))
        part = area.directory / "weights.onnx.part"
        await until_on_loop(lambda: part.exists() and part.stat().st_size)
        pulling.cancel()
        assert server.hold
        server.hold.set()
        with pytest.raises(asyncio.CancelledError):
            await pulling

    asyncio.run(cancel())
    assert area.state() == "absent"
    server.hold = None

    area.pull()

    assert server.ranges[1] not in (None, "bytes=0-")
    assert area.state() == "present"


def test_job_cancelled_by_its_context_stops(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    server.hold = threading.Event()
    hold = server.hold

    def cancelled() -> bool:
        hold.set()
        return True

    area.jobs.cancelled = cancelled

    with pytest.raises(asyncio.CancelledError):
        area.pull()


def test_failed_source_falls_to_the_next_and_all_reasons_are_told(
    tmp_path: Path, server: Server
) -> None:
    missing = f"file:{tmp_path}/nowhere/NAME"
    wrong = f"https:{server.url}/nonesuch/NAME"
    good = Area(tmp_path, entry(missing, wrong, f"https:{server.url}/NAME"))
    good.pull()
    assert good.state() == "present"
    (tmp_path / "b").mkdir()
    bad = Area(tmp_path / "b", entry(missing, wrong, "gopher:x", "http://example.invalid/NAME"))

    with pytest.raises(ModelFetchFailed) as caught:
        bad.pull()

    for part in ("No such file", "answered 404", 'unknown scheme "gopher"'):
        assert part in caught.value.message


def test_wrong_bytes_are_never_kept(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME", **{"weights.onnx": "0" * 64}))

    with pytest.raises(ModelFetchFailed, match="expected 0000"):
        area.pull()

    assert area.names() == []


def test_damage_is_found_and_a_pull_mends_it(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    area.pull()
    weights = area.directory / "weights.onnx"
    data = bytearray(weights.read_bytes())
    data[12345] ^= 1
    weights.write_bytes(data)

    with pytest.raises(ModelCorrupt) as caught:
        asyncio.run(area.service.ready("tiny"))
    assert caught.value.hint == "stackctl models pull tiny"
    assert area.state() == "corrupt"
    assert not asyncio.run(area.service.verify("tiny")).ok
    area.pull()

    assert asyncio.run(area.service.verify("tiny")).ok
    assert server.ranges.count(None) == 3  # the tokenizer was not fetched again


def test_offline_names_the_setting(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME", "pypi:x==1#NAME"), offline=True)

    with pytest.raises(ModelFetchFailed, match="offline is set"):
        area.pull()

    assert server.ranges == []


def test_full_disk_is_told_as_such(tmp_path: Path, server: Server) -> None:
    """The kernel's own full device stands for the disk."""
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    area.directory.mkdir(parents=True)
    (area.directory / "weights.onnx.part").symlink_to("/dev/full")

    with pytest.raises(DiskFull, match="no space left") as caught:
        area.pull()

    assert caught.value.hint == f"df -h {area.directory}"


def test_removed_and_unknown_models_are_not_found(tmp_path: Path) -> None:
    area = Area(tmp_path, entry("file:/nonexistent/NAME"))

    for call in (area.service.remove("tiny"), area.service.ready("tiny")):
        with pytest.raises(NotFound, match="not on this disk"):
            asyncio.run(call)
    with pytest.raises(NotFound, match="catalogue"):
        area.pull("nonesuch")
