"""Drives the extractor process: one at a time, killed when it hangs; refuses to parse here."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType

import msgspec

from stackctl.errors import Failed
from stackctl_daemon.search.extract import Extracted
from stackctl_daemon.search.extractor_process import LENGTH, Answer, Task

TIMEOUT_S = 60.0
MEMORY_BYTES = 2 << 30
"""Address space of the process, its libraries included."""
FILES_PER_PROCESS = 200
"""Parsers leak; a new process now and then gives their memory back."""


class Extractor:
    """A process that parses files, started when first needed; use it as a context manager."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, memory_bytes: int = MEMORY_BYTES) -> None:
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._process: asyncio.subprocess.Process | None = None
        self._served = 0

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

    async def extract(self, data: bytes, type_: str, name: str) -> Extracted:
        """Give the text of one file.

        Raises:
            Failed: the file is broken, or ended or outlasted the process.
        """
        if self._served >= FILES_PER_PROCESS:
            await self._end()
        self._served += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._ask(msgspec.msgpack.encode(Task(type_, name, data)))
        except TimeoutError:
            await self._end()
            raise Failed(f"not parsed after {self._timeout_s:g} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            await self._end()
            raise Failed("the parser crashed on it") from None
        except BaseException:
            await self._end()  # a cancelled exchange leaves half a frame behind
            raise
        if answer.document is None:
            raise Failed(answer.error)
        return answer.document

    async def _ask(self, body: bytes) -> Answer:
        process = self._process or await self._start()
        if process.stdin is None or process.stdout is None:
            raise Failed("the parser has no pipes")
        process.stdin.write(LENGTH.pack(len(body)) + body)
        await process.stdin.drain()
        head = await process.stdout.readexactly(LENGTH.size)
        answer = await process.stdout.readexactly(LENGTH.unpack(head)[0])
        return msgspec.msgpack.decode(answer, type=Answer)

    async def _start(self) -> asyncio.subprocess.Process:
        module = "stackctl_daemon.search.extractor_process"
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            str(self._memory_bytes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._served = 1
        return self._process

    async def _end(self) -> None:
        process, self._process, self._served = self._process, None, 0
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
