"""HTTP to the search service and back; refuses to decide anything."""

from __future__ import annotations

from stackctl.contracts.job import Job
from stackctl.contracts.search import (
    Collection,
    CollectionList,
    IndexRequest,
    RemoveRequest,
    SearchReply,
    SearchRequest,
)
from stackctl.errors import Conflict, DiskFull, NotFound, Overloaded, StoreCorrupt, WorkerCrashed
from stackctl_daemon.http.registry import Reply, Request, Route
from stackctl_daemon.search.service import SearchService


def routes(service: SearchService) -> list[Route]:
    """Give the area's routes."""

    async def index(request: Request) -> Reply:
        return Reply(await service.index(request.body), status=202)

    async def remove(request: Request) -> Reply:
        return Reply(await service.remove(request.body), status=202)

    async def search(request: Request) -> Reply:
        return Reply(await service.search(request.body))

    async def list_(request: Request) -> Reply:
        return Reply(await service.collections())

    async def get(request: Request) -> Reply:
        return Reply(await service.collection(request.params["name"]))

    async def delete(request: Request) -> Reply:
        return Reply(await service.delete(request.params["name"]))

    return [
        Route(
            "search.index",
            "POST",
            "/v1/index",
            "admin",  # it reads any path as the owner, and search shows what it read
            index,
            "Index files and folders into a collection",
            body=IndexRequest,
            reply=Job,
            status=202,
            errors=(NotFound, StoreCorrupt, DiskFull),
            durable=True,
        ),
        Route(
            "search.remove",
            "POST",
            "/v1/index/remove",
            "operate",  # as deleting the whole collection is; it reads no file
            remove,
            "Forget files and folders of a collection; the files stay",
            body=RemoveRequest,
            reply=Job,
            status=202,
            errors=(NotFound, StoreCorrupt, DiskFull),
            durable=True,
        ),
        Route(
            "search.query",
            "POST",
            "/v1/search",
            "read",
            search,
            "Search a collection",
            body=SearchRequest,
            reply=SearchReply,
            errors=(NotFound, Conflict, StoreCorrupt, Overloaded, WorkerCrashed),
        ),
        Route(
            "collections.list",
            "GET",
            "/v1/collections",
            "read",
            list_,
            "List collections",
            reply=CollectionList,
            errors=(StoreCorrupt,),
        ),
        Route(
            "collections.show",
            "GET",
            "/v1/collections/{name}",
            "read",
            get,
            "Show one collection",
            reply=Collection,
            errors=(NotFound, StoreCorrupt),
        ),
        Route(
            "collections.delete",
            "DELETE",
            "/v1/collections/{name}",
            "operate",
            delete,
            "Delete a collection; files stay",
            reply=Collection,
            errors=(NotFound, StoreCorrupt, DiskFull),
            durable=True,
        ),
    ]
