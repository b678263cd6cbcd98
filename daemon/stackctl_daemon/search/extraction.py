"""What the daemon and its extractor process say to each other; refuses to do either's work.

Frames on the process's stdin and stdout are a 4-byte big-endian length and MessagePack: `Batch`
in, and for each of its files any number of `Part` and one `Answer` out, in order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal

import msgspec

from stackctl_daemon.search.chunking import Chunk

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 4 << 20
"""Decoding one must not hold the daemon's loop for longer than some milliseconds."""
PART_BYTES = 512 << 10
"""Chunks are grouped into frames of about this size."""
MAX_TEXT_BYTES = 128 << 20
"""Text of one document: a small DOCX can hold gigabytes, and the daemon keeps it all at once."""

TOO_MUCH_MEMORY = "needs too much memory"

Outcome = Literal["changed", "unchanged", "skipped", "unreadable", "failed"]


class Task(msgspec.Struct, frozen=True, array_like=True):
    """A file to read."""

    path: bytes
    sha256: bytes = b""
    """Of what is indexed: the same bytes are not parsed again. Empty to parse in any case."""
    root: bytes = b""
    """The folder that a person named; no symlink is followed below it. Empty: the path itself
    was named, and may be one."""


class Batch(msgspec.Struct, frozen=True):
    """Files to read, one after the other."""

    files: Sequence[Task]
    chunk_tokens: int
    max_file_bytes: int


class Part(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag="part"):
    """Some of a file's chunks."""

    chunks: Sequence[Chunk]


class Answer(msgspec.Struct, frozen=True, array_like=True, tag_field="kind", tag="answer"):
    """What became of a file; its chunks came before."""

    outcome: Outcome
    reason: str = ""
    title: str = ""
    type: str = ""
    size: int = 0
    mtime_ns: int = 0
    sha256: bytes = b""


def frame(message: Batch | Part | Answer) -> bytes:
    """Give a message as it is written."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body
