"""The job that brings a collection up to date with its files; refuses to rank.

Three stages run at once: reading files, embedding batches across documents with two in flight,
writing whole documents. What is written stays written, so that a job that is ended at any moment
goes on where it was: files that are indexed already count as unchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from stackctl.errors import Conflict, Failed, StackctlError
from stackctl.settings import SearchSettings
from stackctl_daemon.events import EventSink, new_event
from stackctl_daemon.jobs import JobContext
from stackctl_daemon.search.chunking import embedded_text
from stackctl_daemon.search.embedding import PatientEmbedder, Vectors
from stackctl_daemon.search.extractor import Extractor
from stackctl_daemon.search.ports import Embedder
from stackctl_daemon.search.preparing import Prepared, Preparer
from stackctl_daemon.search.roots import Held, disks, held, is_below, removal
from stackctl_daemon.search.store import Known, NewDocument, Store
from stackctl_daemon.search.threads import StoreThreads
from stackctl_daemon.search.waiting import DocumentQueue, Waiting
from stackctl_daemon.search.walk import Walk, shown, walk

BATCH_CHUNKS = 96
IN_FLIGHT = 2
"""One batch computes while the next is tokenised: the worker never waits for us."""
WRITE_CHUNKS = 256
WRITE_INTERVAL_S = 1.0
"""Documents are grouped into a transaction until either is reached."""
LISTED = 200
"""Paths listed in a result; the counts are always whole."""


class _Cancelled(Exception):
    """Somebody cancelled the job; a CancelledError would end one task of the group alone."""


@dataclass(slots=True)
class Tally:
    """What the job has done so far."""

    indexed: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    done: int = 0
    total: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    skipped_count: int = 0
    failed_count: int = 0

    def skip(self, path: bytes, reason: str) -> None:
        """Note a file that will not be indexed."""
        self.skipped_count += 1
        if len(self.skipped) < LISTED:
            self.skipped.append({"path": shown(path), "reason": reason})

    def fail(self, path: bytes, reason: str) -> None:
        """Note a file that should have been indexed and could not be."""
        self.failed_count += 1
        if len(self.failed) < LISTED:
            self.failed.append({"path": shown(path), "reason": reason})

    def result(self, elapsed_s: float) -> dict[str, Any]:
        """Give the job's result."""
        names = "indexed unchanged removed skipped skipped_count failed failed_count chunks"
        values = {name: getattr(self, name) for name in names.split()}
        return values | {"elapsed_s": round(elapsed_s, 3)}


class _Batch(NamedTuple):
    parts: list[tuple[Waiting, int]]
    """Documents, and how many chunks of each are in the batch."""
    task: asyncio.Task[Vectors]


class IndexRun:
    """One run of the job over some roots."""

    def __init__(
        self,
        context: JobContext,
        collection: str,
        *,
        threads: StoreThreads,
        embedder: Embedder,
        sink: EventSink,
        settings: SearchSettings,
        executor: Executor,
        force: bool = False,
    ) -> None:
        self._context = context
        self._name = collection
        self._threads = threads
        self._embedder = embedder
        self._sink = sink
        self._settings = settings
        self._executor = executor
        self._force = force
        self._model = "default"
        self._tally = Tally()
        self._held: list[Held] = []
        self._documents = DocumentQueue()
        self._batches: asyncio.Queue[_Batch | None] = asyncio.Queue(IN_FLIGHT)
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def run(self, roots: list[bytes]) -> dict[str, Any]:
        """Index every root and give the result.

        Raises:
            Conflict: a root looks as if its disk was not mounted; the others are indexed.
            StackctlError: the disk is full, the model is not here, the store is corrupt.
        """
        began = time.monotonic()
        found = await self._threads.read(lambda store: store.collection(self._name))
        self._model = found.model or "default"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(roots, found.id), name="search-read")
                group.create_task(self._embed(group), name="search-embed")
                group.create_task(self._write(), name="search-write")
        except ExceptionGroup as errors:
            # The stages fail together when one does: a cancel or the first error stands for all.
            if errors.subgroup(_Cancelled):
                raise asyncio.CancelledError from None
            ours = errors.subgroup(StackctlError)
            if ours is None:
                raise
            raise _first(ours) from errors
        if self._held:
            raise Conflict(
                f"{'; '.join(kept.reason() for kept in self._held)}: nothing of it was removed;"
                " mount its disk, or make the collection forget it",
                hint=removal(self._name, [kept.folder for kept in self._held]),
            )
        return self._tally.result(time.monotonic() - began)

    # First stage: files to chunks

    async def _read(self, roots: list[bytes], collection_id: int) -> None:
        async with Extractor() as extractor:
            preparer = Preparer(
                extractor,
                chunk_tokens=self._settings.chunk_tokens,
                max_file_bytes=self._settings.max_file_bytes,
            )
            for root in roots:
                await self._root(root, collection_id, preparer)
        await self._documents.put(None)

    async def _root(self, root: bytes, collection_id: int, preparer: Preparer) -> None:
        loop = asyncio.get_running_loop()
        limit = self._settings.max_file_bytes
        try:
            listed = await loop.run_in_executor(
                self._executor, lambda: walk(root, max_file_bytes=limit)
            )
        except OSError as err:
            # What it held stays: an unmounted disk is no order to forget.
            fix = removal(self._name, [root])
            self._tally.fail(root, f"cannot be read: {err.strerror} (to forget it: {fix})")
            return
        known = await self._threads.read(lambda store: store.known(collection_id, root))
        self._tally.total += len(listed.files)
        for path, reason in listed.skipped:
            self._tally.skip(path, reason)
        kept: set[bytes] = set()
        touched: list[tuple[int, int]] = []
        found = preparer.prepare(listed.files, known, force=self._force)
        async with contextlib.aclosing(found):
            async for prepared in found:
                self._report(shown(prepared.path))
                if prepared.outcome not in ("skipped", "failed"):
                    kept.add(prepared.path)
                if prepared.touched_id is not None:
                    touched.append((prepared.mtime_ns, prepared.touched_id))
                await self._take(prepared)
        if touched:
            await self._threads.write(lambda store: store.touch(touched))
        gone = _gone(known, kept, listed)
        if known or kept:
            gone -= await self._hold(root, collection_id, known, gone, kept)
        await self._forget([known[path].id for path in sorted(gone)])

    async def _take(self, prepared: Prepared) -> None:
        if prepared.outcome == "changed":
            await self._documents.put(Waiting(prepared))
            return
        self._tally.done += 1
        if prepared.outcome == "unchanged":
            self._tally.unchanged += 1
        elif prepared.outcome == "skipped":
            self._tally.skip(prepared.path, prepared.reason)
        else:
            self._tally.fail(prepared.path, prepared.reason)

    async def _hold(
        self,
        root: bytes,
        collection_id: int,
        known: dict[bytes, Known],
        gone: set[bytes],
        kept: set[bytes],
    ) -> set[bytes]:
        """Give what stays because its disk seems not to be mounted, and note the disks seen."""
        was = await self._threads.read(lambda store: store.disks(collection_id, root))
        now = await asyncio.get_running_loop().run_in_executor(
            self._executor, lambda: disks(root, kept, was)
        )
        found = held(root, known, gone, empty=not kept, was=was, now=now)
        self._held += found
        folders = [kept.folder for kept in found]
        # The device of what is held stays as it was, until the disk is back.
        seen = {
            folder: device
            for folder, device in now.items()
            if not any(is_below(folder, other) for other in folders)
        }
        if seen != was:
            await self._threads.write(lambda store: store.note_disks(self._name, seen))
        return {path for path in gone if any(is_below(path, folder) for folder in folders)}

    async def _forget(self, gone: list[int]) -> None:
        for start in range(0, len(gone), 100):
            part = gone[start : start + 100]
            await self._threads.write(self._remover(part))
            self._tally.removed += len(part)

    def _remover(self, ids: list[int]) -> Callable[[Store], None]:
        return lambda store: store.remove(self._name, ids)

    # Second stage: chunks to vectors

    async def _embed(self, group: asyncio.TaskGroup) -> None:
        texts: list[str] = []
        parts: list[tuple[Waiting, int]] = []
        while (waiting := await self._documents.get()) is not None:
            prepared = waiting.prepared
            for piece in prepared.chunks:
                if not parts or parts[-1][0] is not waiting:
                    parts.append((waiting, 0))
                parts[-1] = (waiting, parts[-1][1] + 1)
                texts.append(embedded_text(prepared.title, piece))
                if len(texts) == BATCH_CHUNKS:
                    await self._send(group, texts, parts)
                    texts, parts = [], []
        if texts:
            await self._send(group, texts, parts)
        await self._batches.put(None)

    async def _send(
        self, group: asyncio.TaskGroup, texts: list[str], parts: list[tuple[Waiting, int]]
    ) -> None:
        await self._slots.acquire()
        task = group.create_task(self._vectors(texts), name="search-embed-batch")
        await self._batches.put(_Batch(parts, task))

    async def _vectors(self, texts: list[str]) -> Vectors:
        try:
            return await PatientEmbedder(self._embedder, self._model, self._check).embed(texts)
        finally:
            self._slots.release()

    # Third stage: documents to disk

    async def _write(self) -> None:
        ready: list[NewDocument] = []
        model, count, last = "", 0, time.monotonic()
        while (batch := await self._batches.get()) is not None:
            vectors = await batch.task
            model = vectors.model or model
            start = 0
            for waiting, share in batch.parts:
                waiting.vectors.append(vectors.rows[start : start + share])
                waiting.missing -= share
                refusals = (vectors.refused.get(n, "") for n in range(start, start + share))
                waiting.problem = waiting.problem or next(filter(None, refusals), "")
                start += share
                if waiting.missing:
                    continue
                if waiting.problem:
                    self._tally.done += 1
                    reason = f"cannot be embedded: {waiting.problem}"
                    self._tally.fail(waiting.prepared.path, reason)
                else:
                    ready.append(_document(waiting))
                    count += share
            full = sum(len(document.chunks) for document in ready) >= WRITE_CHUNKS
            if ready and (full or time.monotonic() - last >= WRITE_INTERVAL_S):
                await self._store(ready, model)
                ready, last = [], time.monotonic()
        if ready:
            await self._store(ready, model)

    async def _store(self, documents: list[NewDocument], model: str) -> None:
        began = time.monotonic()
        await self._threads.write(lambda store: store.write(self._name, model, documents))
        chunks = sum(len(document.chunks) for document in documents)
        self._tally.indexed += len(documents)
        self._tally.chunks += chunks
        self._tally.done += len(documents)
        self._report(shown(documents[-1].path))
        self._sink.emit(
            new_event(
                "job",
                "search.index.write",
                items=chunks,
                duration_s=time.monotonic() - began,
                model=model,
                job_id=self._context.job_id,
                attributes={"collection": self._name, "documents": len(documents)},
            )
        )

    def _report(self, message: str) -> None:
        self._check()
        tally = self._tally
        self._context.progress(tally.done, tally.total, unit="file", message=message)

    def _check(self) -> None:
        try:
            self._context.check_cancelled()
        except asyncio.CancelledError:
            raise _Cancelled from None


def _gone(known: dict[bytes, Known], kept: set[bytes], listed: Walk) -> set[bytes]:
    """Give what is no longer there, but nothing that the system only would not show."""
    below = tuple(path + b"/" for path in listed.unreadable)
    unseen = {*kept, *listed.unreadable}
    return {path for path in known if path not in unseen and not path.startswith(below)}


def _document(waiting: Waiting) -> NewDocument:
    p = waiting.prepared
    vectors = np.concatenate(waiting.vectors)
    return NewDocument(p.path, p.title, p.type, p.size, p.mtime_ns, p.sha256, p.chunks, vectors)


def _first(errors: BaseExceptionGroup[StackctlError]) -> StackctlError:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, StackctlError) else Failed(str(found))
