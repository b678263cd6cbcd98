"""Reads one file and makes its chunks; refuses to embed or store them."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from stackctl.errors import Failed
from stackctl_daemon.search.chunking import Chunk, chunk
from stackctl_daemon.search.extract import Extracted, extract_plain
from stackctl_daemon.search.extractor import Extractor
from stackctl_daemon.search.filetype import SNIFF_BYTES, DocumentType, detect
from stackctl_daemon.search.store import Known
from stackctl_daemon.search.walk import Found, shown

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of a file before it is embedded."""

    path: bytes
    outcome: Literal["changed", "unchanged", "skipped", "unreadable", "failed"]
    reason: str = ""
    title: str = ""
    type: str = ""
    size: int = 0
    mtime_ns: int = 0
    sha256: bytes = b""
    chunks: tuple[Chunk, ...] = ()
    touched_id: int | None = None
    """The document whose file has a new time and the same bytes."""


class _Read(NamedTuple):
    data: bytes
    sha256: bytes
    size: int
    mtime_ns: int
    type: DocumentType | None


class Preparer:
    """Prepares files, in the executor's thread or in the extractor's process."""

    def __init__(
        self, extractor: Extractor, executor: Executor, *, chunk_tokens: int, max_file_bytes: int
    ) -> None:
        self._extractor = extractor
        self._executor = executor
        self._chunk_tokens = chunk_tokens
        self._max_file_bytes = max_file_bytes

    async def prepare(self, file: Found, known: Known | None, *, force: bool) -> Prepared:
        """Give the chunks of a file, or why it has none."""
        if known and not force and (known.size, known.mtime_ns) == (file.size, file.mtime_ns):
            return Prepared(file.path, "unchanged")
        try:
            read = await self._run(lambda: _read(file.path, self._max_file_bytes))
        except OSError as err:
            return Prepared(file.path, "unreadable", f"cannot be read: {err.strerror}")
        except Failed as err:
            return Prepared(file.path, "skipped", err.message)
        if known and not force and known.sha256 == read.sha256:
            return Prepared(file.path, "unchanged", mtime_ns=read.mtime_ns, touched_id=known.id)
        if read.type is None:
            return Prepared(file.path, "skipped", "binary")
        try:
            document, chunks = await self._extract(file.path, read, read.type)
        except Failed as err:
            return Prepared(file.path, "failed", err.message)
        if not chunks:
            return Prepared(file.path, "skipped", "no text in it")
        return Prepared(
            file.path,
            "changed",
            document.note,
            document.title,
            read.type,
            read.size,
            read.mtime_ns,
            read.sha256,
            tuple(chunks),
        )

    async def _extract(
        self, path: bytes, read: _Read, type_: DocumentType
    ) -> tuple[Extracted, list[Chunk]]:
        name = shown(os.path.basename(path))  # noqa: PTH119 - bytes
        if type_ in ("pdf", "docx", "html"):
            document = await self._extractor.extract(read.data, type_, name)
            return document, await self._run(
                lambda: chunk(document, chunk_tokens=self._chunk_tokens)
            )

        def plain() -> tuple[Extracted, list[Chunk]]:
            found = extract_plain(read.data, type_, name)
            # Code has about three characters to a token where prose has four.
            tokens = self._chunk_tokens * 3 // 4 if type_ == "code" else self._chunk_tokens
            return found, chunk(found, chunk_tokens=tokens)

        return await self._run(plain)

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


def _read(path: bytes, max_file_bytes: int) -> _Read:
    # O_NONBLOCK: a file that became a pipe since the walk must not hold this thread.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(file.fileno())
        head = file.read(SNIFF_BYTES)
        type_ = detect(path, head)
        if type_ is None:
            # Its bytes are never needed: a hash of the head stands for it nowhere.
            return _Read(b"", b"", info.st_size, info.st_mtime_ns, None)
        data = head + file.read(max_file_bytes + 1 - len(head))
    if len(data) > max_file_bytes:
        raise Failed(f"grew above max_file_bytes {max_file_bytes}")
    digest = hashlib.sha256(data).digest()
    return _Read(data, digest, len(data), info.st_mtime_ns, type_)
