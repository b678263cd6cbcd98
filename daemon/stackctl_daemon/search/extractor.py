"""Drives the extractor process: killed when a file hangs it, replaced when a file ends it.

Refuses to read or parse here. A batch of files is sent at once and answered file by file, so that
the process never waits for the daemon.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from types import TracebackType
from typing import NamedTuple

import msgspec

from stackctl_daemon.search.chunking import Chunk
from stackctl_daemon.search.extraction import (
    LENGTH,
    MAX_FRAME_BYTES,
    MAX_TEXT_BYTES,
    TOO_MUCH_MEMORY,
    Answer,
    Batch,
    Part,
    Task,
    frame,
)

TIMEOUT_S = 60.0
"""For one file, from the answer to the file before it."""
MEMORY_BYTES = 2 << 30
"""Address space of the process, its libraries included."""
PARSED_PER_PROCESS = 200
"""Libraries leak; a new process now and then gives their memory back."""
BYTES_PER_PROCESS = 64 << 20
MAX_DEATHS = 2
"""A process may have been ended by something else than the file: once more, then it is blamed."""
CRASHED = "the parser crashed on it"
_LIBRARY_TYPES = frozenset({"pdf", "docx", "html"})
_DECODER = msgspec.msgpack.Decoder(Part | Answer)


class Extraction(NamedTuple):
    """What became of a file, and its chunks."""

    answer: Answer
    chunks: list[Chunk]


class _Ended(Exception):
    """The process cannot be used any more."""


class Extractor:
    """A process that parses files, started when first needed; use it as a context manager."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, memory_bytes: int = MEMORY_BYTES) -> None:
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._process: asyncio.subprocess.Process | None = None
        self._wear = 0.0

    async def __aenter__(self) -> Extractor:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end()

    @property
    def pid(self) -> int | None:
        """Id of the process, when one runs."""
        return self._process.pid if self._process else None

    async def extract(
        self, files: Iterable[Task], *, chunk_tokens: int, max_file_bytes: int
    ) -> AsyncGenerator[Extraction, None]:
        """Give what became of each file, in order.

        No file raises: one that hangs or ends the process is an answer as well. To be closed by
        the caller (``contextlib.aclosing``) when it is left early.
        """
        left = deque(files)
        deaths = 0
        try:
            while left:
                batch = Batch(tuple(left), chunk_tokens, max_file_bytes)
                sent = False
                problem = ""
                while left and not problem:
                    try:
                        async with asyncio.timeout(self._timeout_s):
                            if not sent:
                                await self._send(batch)
                                sent = True
                            found = await self._receive()
                    except TimeoutError:
                        problem = f"not parsed after {self._timeout_s:g} s"
                    except (_Ended, asyncio.IncompleteReadError, ConnectionError) as err:
                        deaths += 1
                        problem = f"{err}" if isinstance(err, _Ended) else CRASHED
                    else:
                        deaths = 0
                        left.popleft()
                        yield found
                if problem:
                    await self._end()
                    if not 0 < deaths < MAX_DEATHS:
                        deaths = 0
                        left.popleft()
                        yield Extraction(Answer("failed", problem), [])
        except BaseException:
            await self._end()  # an exchange that is left early leaves answers behind
            raise
        if self._wear >= 1:
            await self._end()

    async def _send(self, batch: Batch) -> None:
        if self._process is not None and self._process.returncode is not None:
            await self._end()
        process = self._process or await self._start()
        if process.stdin is None:
            raise _Ended(CRASHED)
        process.stdin.write(frame(batch))
        await process.stdin.drain()

    async def _receive(self) -> Extraction:
        if self._process is None or self._process.stdout is None:
            raise _Ended(CRASHED)
        chunks: list[Chunk] = []
        total = 0
        while True:
            length = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))[0]
            total += length
            # Twice: headings and numbers come on top of the text.
            if length > MAX_FRAME_BYTES or total > 2 * MAX_TEXT_BYTES:
                raise _Ended(CRASHED)
            body = await self._process.stdout.readexactly(length)
            try:
                found = _DECODER.decode(body)
            except msgspec.MsgspecError:
                raise _Ended(CRASHED) from None
            if isinstance(found, Answer) and found.reason == TOO_MUCH_MEMORY:
                # What it holds on to would be missing for the next file, or was for this one.
                raise _Ended(TOO_MUCH_MEMORY)
            if isinstance(found, Answer):
                library = found.type in _LIBRARY_TYPES or found.outcome == "failed"
                self._wear += library / PARSED_PER_PROCESS + found.size / BYTES_PER_PROCESS
                return Extraction(found, chunks)
            chunks += found.chunks

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "stackctl_daemon.search.extractor_process",
            str(self._memory_bytes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=1 << 20,
        )
        self._wear = 0.0
        return self._process

    async def _end(self) -> None:
        process, self._process, self._wear = self._process, None, 0.0
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
