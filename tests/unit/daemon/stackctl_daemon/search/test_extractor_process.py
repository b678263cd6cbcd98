"""The process by itself: frames in, frames out, whatever the files hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from stackctl_daemon.search.extraction import LENGTH, Answer, Batch, Part, Task, frame

ROOM_BYTES = 4 << 30


def serve(
    *paths: Path, memory_bytes: int = ROOM_BYTES, root: Path | None = None
) -> list[Part | Answer]:
    """Give files to the process as the daemon frames them, and read its answers to the end."""
    below = os.fsencode(root) if root else b""
    batch = Batch([Task(os.fsencode(path), root=below) for path in paths], 200, 1 << 40)
    done = subprocess.run(
        [sys.executable, "-m", "stackctl_daemon.search.extractor_process", str(memory_bytes)],
        input=frame(batch),
        capture_output=True,
        check=True,
        timeout=60,
    )
    answers: list[Part | Answer] = []
    rest = done.stdout
    while rest:
        [size] = LENGTH.unpack(rest[: LENGTH.size])
        body, rest = rest[LENGTH.size : LENGTH.size + size], rest[LENGTH.size + size :]
        answers.append(msgspec.msgpack.decode(body, type=Part | Answer))
    return answers


def test_a_broken_file_is_an_answer_and_the_next_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 nothing")
    (tmp_path / "b.html").write_bytes(b"<p>Walrus")

    broken, part, fine = serve(tmp_path / "a.pdf", tmp_path / "b.html")

    assert isinstance(broken, Answer)
    assert broken.reason.startswith("PdfiumError: ")
    assert isinstance(part, Part)
    assert part.chunks[0].text == "Walrus"
    assert isinstance(fine, Answer)
    assert (fine.outcome, fine.type) == ("changed", "html")


def test_a_file_that_wants_too_much_memory_is_told_as_such(tmp_path: Path) -> None:
    # 160 MiB of page in an address space that has room for the process and little more.
    (tmp_path / "a.html").write_bytes(b"<p>" + b"walrus " * (24 << 20))

    assert serve(tmp_path / "a.html", memory_bytes=400 << 20) == [
        Answer("failed", "needs too much memory")
    ]


@pytest.mark.parametrize("type_", ["pdf", "docx"])
def test_random_bytes_end_nothing(tmp_path: Path, type_: str) -> None:
    path = tmp_path / f"a.{type_}"
    path.write_bytes(bytes(range(256)) * 8)

    [answer] = serve(path)

    assert isinstance(answer, Answer)
    assert answer.outcome == "failed"
    assert answer.reason


def test_many_chunks_come_in_frames_of_bounded_size(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("Some words of a line.\n" * 100_000)

    *parts, answer = serve(path)

    assert len(parts) >= 4
    assert all(isinstance(part, Part) for part in parts)
    assert isinstance(answer, Answer)
    assert answer.size == path.stat().st_size


@pytest.mark.parametrize("swapped", ["folder", "file"])
def test_a_symlink_that_came_after_the_walk_leads_nowhere(tmp_path: Path, swapped: str) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (outside / "a.txt").write_text("secret walrus")
    (root / "b").mkdir(parents=True)
    if swapped == "folder":
        (root / "b" / "c").symlink_to(outside)
    else:
        (root / "b" / "c").mkdir()
        (root / "b" / "c" / "a.txt").symlink_to(outside / "a.txt")

    [answer] = serve(root / "b" / "c" / "a.txt", root=root)

    assert isinstance(answer, Answer)
    assert answer.outcome == "unreadable"


def test_a_source_may_itself_be_reached_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real" / "b").mkdir(parents=True)
    (tmp_path / "real" / "b" / "a.txt").write_text("walrus")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    part, answer = serve(tmp_path / "link" / "b" / "a.txt", root=tmp_path / "link")

    assert isinstance(part, Part)
    assert isinstance(answer, Answer)
    assert answer.outcome == "changed"
