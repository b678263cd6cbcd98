"""Search as the daemon offers it: index, query, list, delete, repair; refuses to know HTTP."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from stackctl.contracts.job import Job
from stackctl.contracts.search import (
    Collection,
    CollectionList,
    IndexRequest,
    RemoveRequest,
    SearchReply,
    SearchRequest,
    Source,
)
from stackctl.contracts.system import AreaHealth
from stackctl.errors import Conflict, Invalid, StoreCorrupt
from stackctl.settings import SearchSettings
from stackctl_daemon.events import EventSink
from stackctl_daemon.jobs import JobContext, JobKind, Jobs
from stackctl_daemon.search.answering import answer
from stackctl_daemon.search.indexing import IndexRun
from stackctl_daemon.search.ports import Embedder
from stackctl_daemon.search.removing import matched, remove
from stackctl_daemon.search.repairing import begin_again, lost_by, salvage_all, told
from stackctl_daemon.search.roots import carried, must_exist, parse
from stackctl_daemon.search.roster import Listed
from stackctl_daemon.search.store import FloatArray, Store
from stackctl_daemon.search.threads import StoreThreads
from stackctl_daemon.search.walk import shown
from stackctl_daemon.search.watch import Watcher
from stackctl_daemon.tasks import TaskOwner

T = TypeVar("T")
KIND = "search.index"
MAX_QUERY_CHARS = 2000
MAX_LIMIT = 100
CHECK_MAX_BYTES = 512 << 20
"""A larger file is not checked at start: reading it whole would hold the start up."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TYPES = ("", "text", "markdown", "code", "html", "pdf", "docx")


class SearchService:
    """The search area."""

    def __init__(
        self,
        settings: SearchSettings,
        data_dir: Path,
        embedder: Embedder,
        jobs: Jobs,
        sink: EventSink,
    ) -> None:
        self._settings = settings
        self._file = data_dir / "search.sqlite"
        self._embedder = embedder
        self._jobs = jobs
        self._sink = sink
        self._tasks = TaskOwner()
        self._files = ThreadPoolExecutor(1, "search-files")
        self._threads: StoreThreads | None = None
        self._problem = "not started"
        self._lost: Listed = {}
        self._watcher = Watcher(self._changed, self._tasks)
        # Registered before the runner starts, which may resume jobs of ours at once.
        jobs.register(JobKind(KIND, self._index_job, True, lambda p: f"{p['collection']}"))

    async def start(self) -> None:
        """Open and check the store and follow watched sources; a corrupt store degrades us."""
        await self._begin(catch_up=True)

    async def _begin(self, *, catch_up: bool) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        threads = StoreThreads(self._file)
        try:
            await threads.open()
            if self._file.stat().st_size <= CHECK_MAX_BYTES:
                problems = await threads.write(lambda store: store.db.check())
                if problems:
                    raise StoreCorrupt(f"{self._file} is damaged: {problems[0]}")
            self._lost = await threads.write(lost_by)
            if self._lost:
                names = ", ".join(sorted(self._lost))
                raise StoreCorrupt(f"{self._file} has lost sources of collections: {names}")
        except StoreCorrupt as err:
            self._problem = err.message
            await threads.close()
            return
        self._threads, self._problem = threads, ""
        await self._follow(catch_up=catch_up)

    async def close(self) -> None:
        """Stop following, finish what is being written, close the store."""
        await self._tasks.close()
        threads, self._threads = self._threads, None
        self._problem = self._problem or "closed"
        if threads is not None:
            await threads.close()
        await asyncio.get_running_loop().run_in_executor(None, self._files.shutdown)

    async def health(self) -> AreaHealth:
        """Say whether the store can be used."""
        if self._threads is not None and not self._problem:
            return AreaHealth(name="search", state="ready")
        return AreaHealth(
            name="search", state="degraded", reason=self._problem, hint="stackctl doctor --repair"
        )

    # Indexing

    async def index(self, request: IndexRequest) -> Job:
        """Start bringing a collection up to date with paths.

        Raises:
            Invalid: no path, a relative one, or a name that is none.
            NotFound: a path does not exist; the fix says so when it was indexed before.
            StoreCorrupt: the store needs repair first.
        """
        self._check_name(request)
        roots = [parse(path) for path in request.paths]
        known = await self._read(lambda store: _known(store, request.collection, roots))
        await self._files_call(lambda: must_exist(roots, known, request.collection))
        return await self._submit(
            request.collection, roots, watch=request.watch, force=request.force
        )

    async def remove(self, request: RemoveRequest) -> Job:
        """Start forgetting what a collection holds of paths, and stop following them.

        Raises:
            Invalid: no path, a relative one, or a name that is none.
            NotFound: there is no such collection, or it holds nothing of any path.
            StoreCorrupt: the store needs repair first.
        """
        self._check_name(request)
        name = request.collection
        roots = await self._read(lambda store: matched(store, name, request.paths))

        def drop(store: Store) -> None:
            for root in roots:
                store.drop_sources(name, root)

        await self._write(drop)
        await self._follow()
        params = {"collection": name, "remove": [carried(root) for root in roots]}
        # Of the same kind: it waits for the jobs that index into the collection.
        return await self._jobs.submit(KIND, f"remove {_titled(roots)} from {name}", params)

    def _check_name(self, request: IndexRequest | RemoveRequest) -> None:
        if not _NAME.fullmatch(request.collection):
            raise Invalid(
                f'"{request.collection}" is no name of a collection:'
                " 1 to 64 letters, digits, dots, dashes and underscores expected"
            )
        if not 1 <= len(request.paths) <= 1000:
            raise Invalid(f"{len(request.paths)} paths, 1 to 1000 expected")

    async def _submit(
        self, name: str, roots: list[bytes], *, watch: bool | None, force: bool
    ) -> Job:
        sources = [(root, watch) for root in roots]
        await self._write(lambda store: store.ensure_collection(name, sources))
        await self._follow()
        paths = [carried(root) for root in roots]
        params = {"collection": name, "paths": paths, "force": force}
        return await self._jobs.submit(KIND, f"index {_titled(roots)} into {name}", params)

    async def _index_job(self, context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
        name = str(params["collection"])
        if "remove" in params:
            roots = [parse(path) for path in params["remove"]]
            return await self._noting(remove(context, self._ready(), name, roots))
        run = IndexRun(
            context,
            name,
            threads=self._ready(),
            embedder=self._embedder,
            sink=self._sink,
            settings=self._settings,
            executor=self._files,
            force=bool(params.get("force", False)),
        )
        try:
            return await run.run([parse(path) for path in params["paths"]])
        except StoreCorrupt as err:
            self._problem = err.message
            raise

    async def _changed(self, collection: str, root: bytes) -> None:
        """Ask for a job, unless one for this root waits already."""
        path = carried(root)
        for job in self._jobs.active():
            waits = job.kind == KIND and job.state == "queued"
            if (
                waits
                and job.params["collection"] == collection
                and path in job.params.get("paths", ())
            ):
                return
        params = {"collection": collection, "paths": [path], "force": False}
        await self._jobs.submit(KIND, f"index {shown(root)} into {collection}", params)

    async def _follow(self, *, catch_up: bool = False) -> None:
        def watched(store: Store) -> list[tuple[str, bytes]]:
            return [
                (name, path)
                for name in store.names()
                for path, on in store.sources(store.collection(name).id)
                if on
            ]

        self._watcher.follow(await self._read(watched), catch_up=catch_up)

    # Queries

    async def search(self, request: SearchRequest) -> SearchReply:
        """Answer a query.

        Raises:
            Invalid: the query, limit or type is out of range.
            NotFound: there is no such collection.
            Conflict: the collection's vectors are of another model than the query's.
            StoreCorrupt: the store needs repair first.
        """
        began = time.monotonic()
        if not request.query.strip():
            raise Invalid("the query is blank", hint='stackctl search "a question"')
        if len(request.query) > MAX_QUERY_CHARS:
            raise Invalid(
                f"query of {len(request.query)} characters, 1 to {MAX_QUERY_CHARS} expected"
            )
        if not 1 <= request.limit <= MAX_LIMIT:
            raise Invalid(f"limit {request.limit}, 1 to {MAX_LIMIT} expected")
        if request.type not in _TYPES:
            raise Invalid(f'type "{request.type}", one of {", ".join(_TYPES[1:])} expected')
        found = await self._read(lambda store: store.collection(request.collection))
        vector: FloatArray | None = None
        if request.mode != "keyword" and found.dims:
            made = await self._embedder.embed(
                [request.query], model=found.model, priority="interactive"
            )
            vector = np.asarray(made.vectors, dtype=np.float32)[0]
            if (made.model, len(made.vectors[0])) != (found.model, found.dims):
                raise Conflict(
                    f'collection "{found.name}" holds vectors of "{found.model}",'
                    f' the query was embedded by "{made.model}"',
                    hint="stackctl models list",
                )
        hits = await self._read(lambda store: answer(store, request, vector, self._settings))
        return SearchReply(
            query=request.query,
            collection=request.collection,
            mode=request.mode,
            hits=hits,
            elapsed_s=time.monotonic() - began,
        )

    async def collections(self) -> CollectionList:
        """Give all collections, by name."""
        return await self._read(
            lambda store: CollectionList(items=[_collection(store, n) for n in store.names()])
        )

    async def collection(self, name: str) -> Collection:
        """Give one collection.

        Raises:
            NotFound: there is none of this name.
        """
        return await self._read(lambda store: _collection(store, name))

    async def delete(self, name: str) -> Collection:
        """Delete a collection and give what it was; files stay where they are.

        Raises:
            NotFound: there is none of this name.
        """

        def drop(store: Store) -> Collection:
            was = _collection(store, name)
            store.drop_collection(name)
            return was

        was = await self._write(drop)
        await self._follow()
        return was

    # Repair

    async def repair(self) -> list[str]:
        """Rebuild derived tables of a sound store; restore a damaged one; give what was done.

        Raises:
            StoreCorrupt: it cannot be used yet.
        """
        if self._threads is not None and not self._problem:
            names = await self._read(lambda store: store.names())
            done = []
            for name in names:
                count = await self._write(partial(Store.rebuild, name=name))
                done.append(f"rebuilt the indexes of {name}: {count} chunks")
            return done or ["nothing to repair"]
        threads, self._threads = self._threads, None
        if threads is not None:
            await threads.close()
        found = await self._files_call(lambda: salvage_all(self._file, self._lost))
        await self._files_call(lambda: begin_again(self._file, found))
        self._problem = "not started"
        # Without catching up: the jobs below index the watched sources too.
        await self._begin(catch_up=False)
        self._ready()
        actions = told(found)
        for name, roots in found.present.items():
            paths = [carried(os.fsencode(root)) for root in roots]
            params = {"collection": name, "paths": paths, "force": False}
            job = await self._jobs.submit(KIND, f"index {name} again", params)
            actions.append(f"index {name} again from {len(roots)} sources: job {job.id}")
        return actions

    # Plumbing

    def _ready(self) -> StoreThreads:
        if self._threads is None or self._problem:
            raise StoreCorrupt(
                f"search store unusable: {self._problem}", hint="stackctl doctor --repair"
            )
        return self._threads

    async def _read(self, call: Callable[[Store], T]) -> T:
        return await self._noting(self._ready().read(call))

    async def _write(self, call: Callable[[Store], T]) -> T:
        return await self._noting(self._ready().write(call))

    async def _noting(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except StoreCorrupt as err:
            self._problem = err.message
            raise

    async def _files_call(self, call: Callable[[], T]) -> T:
        # Not the indexing thread: a request must not wait for a large file's hash.
        return await asyncio.get_running_loop().run_in_executor(None, call)


def _titled(roots: list[bytes]) -> str:
    return shown(roots[0]) + (f" and {len(roots) - 1} more" if roots[1:] else "")


def _known(store: Store, name: str, roots: list[bytes]) -> list[bytes]:
    """Give the roots of which a collection holds something; there may be no collection yet."""
    if name not in store.names():
        return []
    found = store.collection(name)
    return [root for root in roots if store.holds(found.id, root)]


def _collection(store: Store, name: str) -> Collection:
    found = store.collection(name)
    documents, chunks, updated_at = store.counts(found.id)
    sources = [Source(path=shown(p), watched=w) for p, w in store.sources(found.id)]
    return Collection(
        name=name,
        model=found.model,
        documents=documents,
        chunks=chunks,
        sources=sources,
        updated_at=updated_at,
    )
