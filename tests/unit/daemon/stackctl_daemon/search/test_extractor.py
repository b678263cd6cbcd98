"""The extractor's process: what files of every kind may do to it, and never to the daemon."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from stackctl_daemon.search import extraction
from stackctl_daemon.search.extraction import Answer, Task
from stackctl_daemon.search.extractor import Extraction, Extractor

LIMIT = 50_000_000


def _task(path: Path) -> Task:
    return Task(os.fsencode(path), root=os.fsencode(path.parent))


async def _extract(
    extractor: Extractor, tasks: Sequence[Task], limit: int = LIMIT
) -> list[Extraction]:
    found = extractor.extract(tasks, chunk_tokens=200, max_file_bytes=limit)
    return [extraction async for extraction in found]


def _run(
    paths: Sequence[Path], *, limit: int = LIMIT, memory_bytes: int = 2 << 30
) -> list[Answer]:
    async def body() -> list[Answer]:
        async with Extractor(memory_bytes=memory_bytes) as extractor:
            tasks = [_task(path) for path in paths]
            return [answer for answer, _ in await _extract(extractor, tasks, limit)]

    return asyncio.run(body())


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text("<p>again")
    return path


def test_each_file_is_answered_in_order_with_its_chunks(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.txt" for n in range(100)]
    for n, path in enumerate(paths):
        path.write_text(f"walrus {n}")

    async def body() -> list[Extraction]:
        async with Extractor() as extractor:
            return await _extract(extractor, [_task(path) for path in paths])

    found = asyncio.run(body())

    assert [chunks[0].text for _, chunks in found] == [f"walrus {n}" for n in range(100)]
    assert {answer.outcome for answer, _ in found} == {"changed"}


def test_what_no_text_is_in_is_told_and_the_next_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "binary.txt").write_bytes(b"\x7fELF\0\0\1" * 100)
    (tmp_path / "blank.txt").write_text(" \n" * 50)
    (tmp_path / "link.txt").symlink_to(tmp_path / "last.txt")
    (tmp_path / "last.txt").write_text("last")
    (tmp_path / "grown.txt").write_text("x" * 101)
    names = ["pipe", "binary", "blank", "link", "grown", "none", "last"]

    found = _run([tmp_path / f"{name}.txt" for name in names], limit=100)

    assert [(a.outcome, a.reason) for a in found] == [
        ("skipped", "not a regular file"),
        ("skipped", "binary"),
        ("skipped", "no text in it"),
        ("unreadable", "cannot be read: Too many levels of symbolic links"),
        ("skipped", "grew above max_file_bytes 100"),
        ("unreadable", "cannot be read: No such file or directory"),
        ("changed", ""),
    ]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "closed.txt").write_text("x")
    (tmp_path / "closed.txt").chmod(0)

    assert _run([tmp_path / "closed.txt"])[0].reason == "cannot be read: Permission denied"


def test_a_file_of_known_bytes_is_not_parsed_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("walrus")

    async def body() -> list[Answer]:
        async with Extractor() as extractor:
            path = os.fsencode(tmp_path / "a.txt")
            first = (await _extract(extractor, [Task(path)]))[0].answer
            again = (await _extract(extractor, [Task(path, first.sha256)]))[0].answer
            return [first, again]

    assert [answer.outcome for answer in asyncio.run(body())] == ["changed", "unchanged"]


def test_a_text_too_large_for_the_memory_is_reported_and_the_job_goes_on(
    tmp_path: Path, page: Path
) -> None:
    """A sparse gigabyte of a text file: neither the daemon nor the other files notice."""
    large = tmp_path / "large.txt"
    large.write_text("text\n" * 2000)
    os.truncate(large, 1 << 30)

    found = _run([large, page], limit=1 << 31, memory_bytes=1 << 30)

    assert [(a.outcome, a.reason) for a in found] == [
        ("failed", "needs too much memory"),
        ("changed", ""),
    ]


def test_more_text_than_the_daemon_can_hold_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.txt"
    # Latin-1 becomes twice its size as UTF-8: half as much to write, read and cut.
    large.write_bytes((b"\xe9" * 150 + b"\n") * 450_000)

    found = _run([large], limit=1 << 30, memory_bytes=4 << 30)[0]

    assert found.outcome == "failed"
    assert found.reason.endswith(f"bytes of text, at most {extraction.MAX_TEXT_BYTES} expected")


def test_a_heading_as_long_as_its_file_is_not_repeated_in_every_chunk(tmp_path: Path) -> None:
    path = tmp_path / "heading.md"
    path.write_text("# " + "long " * 200_000 + "\n\n" + "Some words below it.\n" * 10_000)

    async def body() -> Extraction:
        async with Extractor() as extractor:
            return (await _extract(extractor, [_task(path)]))[0]

    answer, chunks = asyncio.run(body())

    assert len(answer.title) <= 200
    assert max(len(piece.heading) for piece in chunks) <= 400


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.py", "a.html"])
def test_a_file_that_hangs_the_parser_is_reported_and_the_rest_is_read(
    tmp_path: Path, name: str
) -> None:
    """The process is stopped, as an endless pattern would: whatever the type, only it waits."""
    for path in (tmp_path / name, tmp_path / "next.txt"):
        path.write_text("some words")

    async def body() -> None:
        async with Extractor(timeout_s=3) as extractor:
            await _extract(extractor, [_task(tmp_path / "next.txt")])
            assert extractor.pid is not None
            os.kill(extractor.pid, signal.SIGSTOP)
            found = await _extract(
                extractor, [_task(tmp_path / name), _task(tmp_path / "next.txt")]
            )

            assert [(a.outcome, a.reason) for a, _ in found] == [
                ("failed", "not parsed after 3 s"),
                ("changed", ""),
            ]

    asyncio.run(body())


def test_a_process_that_something_else_ended_is_replaced(page: Path) -> None:
    async def body() -> None:
        async with Extractor() as extractor:
            await _extract(extractor, [_task(page)])
            pid = extractor.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)

            found = await _extract(extractor, [_task(page), _task(page)])
            assert [chunks[0].text for _, chunks in found] == ["again", "again"]
            assert extractor.pid != pid

    asyncio.run(body())


def test_a_file_that_ends_every_process_is_blamed(page: Path) -> None:
    # Too little memory even for a library: each file ends its process.
    found = _run([page, page], memory_bytes=1 << 20)

    assert [a.outcome for a in found] == ["failed"] * 2


def test_leaving_early_ends_the_process(tmp_path: Path, page: Path) -> None:
    async def body() -> None:
        async with Extractor() as extractor:
            found = extractor.extract([_task(page)] * 20, chunk_tokens=200, max_file_bytes=LIMIT)
            async for _ in found:
                break
            await found.aclose()
            assert extractor.pid is None

            # Nothing of the first exchange is taken for an answer of the second.
            (tmp_path / "b.txt").write_text("other")
            assert (await _extract(extractor, [_task(tmp_path / "b.txt")]))[0].chunks[0].text == (
                "other"
            )

    asyncio.run(body())


def test_a_limit_above_the_memory_does_not_keep_small_files_out(page: Path) -> None:
    """Each read reserved the whole limit."""
    assert _run([page], limit=1 << 40, memory_bytes=1 << 30)[0].outcome == "changed"
