"""How much a job holds at once, whatever its files hold."""

from __future__ import annotations

import asyncio

from stackctl_daemon.search.chunking import Chunk
from stackctl_daemon.search.preparing import Prepared
from stackctl_daemon.search.waiting import (
    WAITING_CHARS,
    WAITING_DOCUMENTS,
    DocumentQueue,
    Waiting,
)


def _document(chars: int) -> Waiting:
    return Waiting(Prepared(b"/a", "changed", chunks=(Chunk("x" * chars, "", None, 1, 1),)))


def _taken(chars: int) -> int:
    """Fill a queue with documents of one size, and give how many it takes."""
    queue, taken = DocumentQueue(), 0
    while not queue.full():
        queue.put_nowait(_document(chars))
        taken += 1
    return taken


def test_few_large_documents_wait_or_many_small_ones() -> None:
    assert _taken(10) == WAITING_DOCUMENTS
    assert _taken(WAITING_CHARS // 4) == 4
    assert _taken(2 * WAITING_CHARS) == 1


def test_room_comes_back_with_each_document_taken() -> None:
    async def body() -> None:
        queue = DocumentQueue()
        for _ in range(20):
            await queue.put(_document(WAITING_CHARS))
            blocked = asyncio.ensure_future(queue.put(None))
            assert (await queue.get()) is not None
            await blocked
            assert (await queue.get()) is None
        assert queue.empty()

    asyncio.run(body())
