"""Reads and parses files in a process of its own; refuses to touch the index.

Run as ``python -m stackctl_daemon.search.extractor_process MEMORY_BYTES``. A hostile or huge
file can hang or crash this process, or fill its address space, and nothing else: the parent
kills it. `extraction` says what goes in and out.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import signal
import stat
import sys
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import msgspec

from stackctl_daemon.search.chunking import Chunk, chunk
from stackctl_daemon.search.extract import Extracted
from stackctl_daemon.search.extraction import (
    LENGTH,
    MAX_TEXT_BYTES,
    PART_BYTES,
    TOO_MUCH_MEMORY,
    Answer,
    Batch,
    Part,
    Task,
    frame,
)
from stackctl_daemon.search.filetype import SNIFF_BYTES, DocumentType, detect
from stackctl_daemon.search.formats import parse
from stackctl_daemon.search.walk import shown

GROWTH_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1


class _Skipped(Exception):
    """The file is not one to index; the message says why."""


class _Read(NamedTuple):
    data: bytes
    sha256: bytes
    type: DocumentType
    mtime_ns: int


def main() -> int:
    """Answer batches until stdin ends."""
    # A daemon that is killed cannot tell us to stop, least of all while a parser hangs.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    batches = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as answers:
        # What a library prints must not land between frames.
        os.dup2(2, 1)
        while head := batches.read(LENGTH.size):
            body = batches.read(LENGTH.unpack(head)[0])
            batch = msgspec.msgpack.decode(body, type=Batch)
            for task in batch.files:
                _serve(task, batch, answers)
    return 0


def _serve(task: Task, batch: Batch, answers: BinaryIO) -> None:
    try:
        answer, chunks = prepare(task, batch)
        frames = [frame(Part(part)) for part in _parts(chunks)]
    except MemoryError:
        answer, frames = Answer("failed", TOO_MUCH_MEMORY), []
    except UnicodeEncodeError:  # half a surrogate pair, which no file of text can hold
        answer, frames = Answer("failed", "its parser gave text that is not Unicode"), []
    answers.writelines([*frames, frame(answer)])
    answers.flush()


def _parts(chunks: list[Chunk]) -> Iterator[list[Chunk]]:
    start = size = 0
    for at, piece in enumerate(chunks, 1):
        size += len(piece.text) + len(piece.heading)
        if size >= PART_BYTES or at == len(chunks):
            yield chunks[start:at]
            start, size = at, 0


def prepare(task: Task, batch: Batch) -> tuple[Answer, list[Chunk]]:
    """Read and parse one file; the chunks are empty unless the outcome is ``changed``.

    Raises:
        MemoryError: it does not fit into this process.
    """
    try:
        read = _read(task, batch.max_file_bytes)
    except OSError as err:
        return Answer("unreadable", f"cannot be read: {err.strerror}"), []
    except _Skipped as err:
        return Answer("skipped", str(err)), []
    if task.sha256 == read.sha256:
        return Answer("unchanged", mtime_ns=read.mtime_ns), []
    name = shown(os.path.basename(task.path))  # noqa: PTH119 - bytes
    try:
        document, chunks = _chunks(read, name, batch.chunk_tokens)
    except MemoryError:
        raise
    except Exception as err:  # a parser may raise anything on a broken file: that is the answer
        return Answer("failed", f"{type(err).__name__}: {err}"[:300]), []
    if not chunks:
        return Answer("skipped", "no text in it"), []
    size = sum(len(piece.text.encode("utf-8", "replace")) for piece in chunks)
    if size > MAX_TEXT_BYTES:
        reason = f"holds {size} bytes of text, at most {MAX_TEXT_BYTES} expected"
        return Answer("failed", reason), []
    answer = Answer(
        "changed",
        document.note,
        document.title,
        read.type,
        len(read.data),
        read.mtime_ns,
        read.sha256,
    )
    return answer, chunks


def _chunks(read: _Read, name: str, chunk_tokens: int) -> tuple[Extracted, list[Chunk]]:
    document = parse(read.type, read.data, name)
    # Code has about three characters to a token where prose has four.
    tokens = chunk_tokens * 3 // 4 if read.type == "code" else chunk_tokens
    return document, chunk(document, chunk_tokens=tokens)


def _read(task: Task, max_file_bytes: int) -> _Read:
    with os.fdopen(_open(task), "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise _Skipped("not a regular file")
        head = file.read(SNIFF_BYTES)
        type_ = detect(task.path, head)
        if type_ is None:
            raise _Skipped("binary")
        data = head
        # A read reserves all that it asks for: as much as is there, then what was added since.
        wanted = min(info.st_size, max_file_bytes + 1) - len(head)
        while len(data) <= max_file_bytes and (more := file.read(max(wanted, 1))):
            data += more
            wanted = min(GROWTH_BYTES, max_file_bytes + 1 - len(data))
    if len(data) > max_file_bytes:
        raise _Skipped(f"grew above max_file_bytes {max_file_bytes}")
    return _Read(data, hashlib.sha256(data).digest(), type_, info.st_mtime_ns)


def _open(task: Task) -> int:
    """Open a file as the walk meant it: what was there then may be something else by now.

    A pipe must not hold us, and no symlink, in whatever part of the path, must lead out of the
    folder that a person named: each part is opened relative to the one before.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    if not task.root:
        return os.open(task.path, flags)
    inside = task.path[len(task.root) :].lstrip(b"/").split(b"/")
    folder = os.open(task.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in inside[:-1]:
            step = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(part, step, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(inside[-1], flags | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


if __name__ == "__main__":
    sys.exit(main())
