"""Calls about collections: index, query, list, remove."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from stackctl.client.transport import Transport

if TYPE_CHECKING:
    from stackctl.contracts.job import Job
    from stackctl.contracts.search import Collection, CollectionList, SearchReply


class SearchCalls:
    """Index files and ask collections."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def index(
        self,
        paths: Sequence[str],
        *,
        collection: str = "default",
        watch: bool | None = None,
        force: bool = False,
    ) -> Job:
        """Start to index absolute paths into a collection."""
        carried = [_carried(path) for path in paths]
        body = {"paths": carried, "collection": collection, "watch": watch, "force": force}
        return cast("Job", self._transport.request("POST", "/v1/index", body))

    def forget(self, paths: Sequence[str], *, collection: str = "default") -> Job:
        """Start to remove what a collection holds of absolute paths; files stay.

        Raises:
            NotFound: it holds nothing of them.
        """
        body = {"paths": [_carried(path) for path in paths], "collection": collection}
        return cast("Job", self._transport.request("POST", "/v1/index/remove", body))

    def query(
        self,
        query: str,
        *,
        collection: str = "default",
        mode: str = "hybrid",
        limit: int = 10,
        path: str = "",
        type: str = "",
    ) -> SearchReply:
        """Ask a collection; hits come best first."""
        body = {
            "query": query,
            "collection": collection,
            "mode": mode,
            "limit": limit,
            "path": path,
            "type": type,
        }
        return cast("SearchReply", self._transport.request("POST", "/v1/search", body))

    def collections(self) -> CollectionList:
        """Collections, by name."""
        return cast("CollectionList", self._transport.request("GET", "/v1/collections"))

    def collection(self, name: str) -> Collection:
        """One collection."""
        path = f"/v1/collections/{quote(name, safe='')}"
        return cast("Collection", self._transport.request("GET", path))

    def remove(self, name: str) -> None:
        """Delete a collection; the files it was fed from stay."""
        self._transport.request("DELETE", f"/v1/collections/{quote(name, safe='')}")


def _carried(path: str) -> str:
    """Give a path as JSON can carry it: as a ``file:`` URI where its name is not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"file://{quote(os.fsencode(path))}"
    return path
