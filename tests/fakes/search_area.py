"""A search service on a real store, whose jobs run at once and whose embedder hashes words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from fakes.embedder import HashingEmbedder
from fakes.inline_jobs import InlineJobs, Sink

from stackctl.contracts.search import IndexRequest, SearchRequest
from stackctl.settings import SearchSettings
from stackctl_daemon.search.service import SearchService


class Area:
    """A service with all that it needs."""

    def __init__(self, home: Path, embedder: Any = None, **settings: Any) -> None:
        self.jobs = InlineJobs()
        self.sink = Sink()
        self.embedder = cast("Any", embedder or HashingEmbedder(64))
        self.service = SearchService(
            SearchSettings(**settings), home, self.embedder, self.jobs, self.sink
        )

    async def index(self, *paths: Path | str, **fields: Any) -> dict[str, Any]:
        await self.service.index(IndexRequest(paths=[str(p) for p in paths], **fields))
        return self.jobs.results[-1]

    async def find(self, query: str, **fields: Any) -> list[str]:
        reply = await self.service.search(SearchRequest(query=query, **fields))
        return [Path(hit.citation.path).name for hit in reply.hits]


def run(area: Area, body: Callable[[Area], Awaitable[None]]) -> None:
    async def whole() -> None:
        await area.service.start()
        try:
            await body(area)
        finally:
            await area.service.close()

    asyncio.run(whole())
