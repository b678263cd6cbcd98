"""Tells which files changed and has them read in batches; refuses to embed or store them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from stackctl_daemon.search.chunking import Chunk
from stackctl_daemon.search.extraction import Outcome, Task
from stackctl_daemon.search.extractor import Extraction, Extractor
from stackctl_daemon.search.store import Known
from stackctl_daemon.search.walk import Found

BATCH_FILES = 32
"""Files in a message: a round trip to the process costs more than a small file."""
BATCH_BYTES = 1 << 20
UNCHANGED_AT_ONCE = 500
"""Files that need no reading, before the loop may do something else."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of a file before it is embedded."""

    path: bytes
    outcome: Outcome
    reason: str = ""
    title: str = ""
    type: str = ""
    size: int = 0
    mtime_ns: int = 0
    sha256: bytes = b""
    chunks: tuple[Chunk, ...] = ()
    touched_id: int | None = None
    """The document whose file has a new time and the same bytes."""


class Preparer:
    """Prepares files through the extractor's process."""

    def __init__(self, extractor: Extractor, *, chunk_tokens: int, max_file_bytes: int) -> None:
        self._extractor = extractor
        self._chunk_tokens = chunk_tokens
        self._max_file_bytes = max_file_bytes

    async def prepare(
        self, files: Sequence[Found], known: Mapping[bytes, Known], *, force: bool
    ) -> AsyncGenerator[Prepared, None]:
        """Give the chunks of each file, or why it has none; not always in order.

        To be closed by the caller (``contextlib.aclosing``) when it is left early.
        """
        batch: list[Found] = []
        size = unchanged = 0
        known = {} if force else known
        for file in files:
            row = known.get(file.path)
            if row and (row.size, row.mtime_ns) == (file.size, file.mtime_ns):
                unchanged += 1
                if unchanged % UNCHANGED_AT_ONCE == 0:
                    await asyncio.sleep(0)
                yield Prepared(file.path, "unchanged")
                continue
            batch.append(file)
            size += file.size
            if len(batch) == BATCH_FILES or size >= BATCH_BYTES:
                async with contextlib.aclosing(self._read(batch, known)) as read:
                    async for prepared in read:
                        yield prepared
                batch, size = [], 0
        async with contextlib.aclosing(self._read(batch, known)) as read:
            async for prepared in read:
                yield prepared

    async def _read(
        self, files: Sequence[Found], known: Mapping[bytes, Known]
    ) -> AsyncGenerator[Prepared, None]:
        rows = [known.get(file.path) for file in files]
        tasks = [
            Task(file.path, row.sha256 if row else b"", file.root)
            for file, row in zip(files, rows, strict=True)
        ]
        found = self._extractor.extract(
            tasks, chunk_tokens=self._chunk_tokens, max_file_bytes=self._max_file_bytes
        )
        order = zip(files, rows, strict=True)
        async with contextlib.aclosing(found):
            async for extraction in found:
                file, row = next(order)
                yield _prepared(file.path, row, extraction)


def _prepared(path: bytes, row: Known | None, extraction: Extraction) -> Prepared:
    answer, chunks = extraction
    return Prepared(
        path,
        answer.outcome,
        answer.reason,
        answer.title,
        answer.type,
        answer.size,
        answer.mtime_ns,
        answer.sha256,
        tuple(chunks),
        row.id if row and answer.outcome == "unchanged" else None,
    )
