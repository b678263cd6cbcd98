"""Models: what is known, what is here, and getting the one from the other.

Refuses to load a model: that is inference's. Look-ups and renames run in one thread, which never
waits for a model's bytes: what reads or writes those runs in two others, a pull in one more.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
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
from stackctl.errors import ModelCorrupt, NotFound
from stackctl.settings import ModelSettings
from stackctl_daemon.jobs import JobContext, JobKind, Jobs
from stackctl_daemon.models.catalogue import load_catalogue
from stackctl_daemon.models.claims import Claims, conflict
from stackctl_daemon.models.naming import Names
from stackctl_daemon.models.places import place
from stackctl_daemon.models.ports import ReadyModel, Users
from stackctl_daemon.models.pulling import Puller
from stackctl_daemon.models.stopping import Check, StoppableWork
from stackctl_daemon.models.store import Store
from stackctl_daemon.models.sweeping import sweep

T = TypeVar("T")
LoadedOn = Callable[[str], list[str]]
"""Ids of the devices that hold a model now."""

PULL = "models.pull"
_READERS = 2
"""Models whose bytes are read or written at once: a check need not wait for an import."""


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
        readers: Executor | None = None,
    ):
        self._settings = settings
        self._catalogue_dirs = list(catalogue_dirs)
        self._jobs = jobs
        self._store = Store(data_dir / "models")
        self._known: dict[str, ModelEntry] = {}
        self._unreadable: dict[str, str] = {}
        self._signature: tuple[tuple[str, int], ...] | None = None
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="models-disk")
        self._renames = StoppableWork(self._disk)
        self._readers = readers or ThreadPoolExecutor(_READERS, thread_name_prefix="models-bytes")
        self._bytes = StoppableWork(self._readers)
        self._puller = Puller(settings, self._store, cache_dir / "wheels")
        self._claims = Claims()
        self.loaded_on = loaded_on
        """Set by the composition root once inference is there."""
        self.names = Names(default_model)
        """Their aliases are set by the composition root, as above."""
        self.users: Users | None = None
        """Set by the composition root, as above."""
        jobs.register(JobKind(PULL, self._pull, resumable=True, exclusive=lambda _: "pull"))

    async def start(self) -> None:
        """Clear what the last daemon left half done."""
        await self._on_disk(lambda: sweep(self._store.root))

    async def close(self) -> None:
        """Let the threads end; a running pull was cancelled with its job."""
        self._bytes.close()
        self._disk.shutdown(wait=False)
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._puller.close()

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
            return self._model(entry, imported=entry.name in self._store.imported()[0])

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
        try:
            entry = await self._on_disk(lambda: self._entry(name))
        except ModelCorrupt as err:
            return ModelVerification(
                name=name, ok=False, problems=[err.message.partition(": ")[2]]
            )
        problems = await self._bytes.run(lambda check: self._store.verify(entry, check=check))
        return ModelVerification(name=entry.name, ok=not problems, problems=problems)

    async def remove(self, name: str) -> Model:
        """Remove a model from devices, then its files; an imported model is then unknown.

        Raises:
            NotFound: no such model, or nothing of it is here.
            Conflict: requests use it, it is changed otherwise, or this is not its very name;
                nothing is removed.
        """
        found = await self._on_disk(lambda: self._removable(name))
        async with self._alone(found, "removed"):
            if self.users is None:
                return (await self._delete(found))[0]
            async with self.users.leaving(found):
                gone, known = await self._delete(found)
                await self.users.forget(found, known=known)
            return gone

    async def export(self, name: str, request: ModelExport) -> ExportedModel:
        """Write a model to a folder or a tar of the daemon's machine; see `Store.export`."""
        path = place(request.path)
        entry = await self._on_disk(lambda: self._entry(name))
        async with self._alone(entry.name, "exported"):
            size = await self._bytes.run(lambda check: self._store.export(entry, path, check))
        return ExportedModel(
            name=entry.name, path=str(path), files=len(entry.files), size_bytes=size
        )

    async def take(self, request: ModelImport) -> ImportedModel:
        """Import a model from a directory or a tar; see `Names.check_free` and `Store.stage`."""
        place(request.path)
        taken: list[str] = []
        async with self._alone(request.name, "imported"):
            claimed = await self._on_disk(lambda: self._free(request))
            staging = self._store.staging()

            def stage(check: Check) -> ModelEntry:
                return self._store.stage(request, staging, claimed, check, on_taken=taken.append)

            try:
                entry = await self._bytes.run(stage)
                # Asked again: another import may have taken a name or an alias meanwhile.
                await self._renames.run(
                    lambda _: self._store.adopt(entry, staging, self._free(request))
                )
            finally:
                await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
            model = await self._on_disk(lambda: self._model(entry, imported=True))
            return ImportedModel(**msgspec.structs.asdict(model), aliases_taken=taken)

    def _free(self, request: ModelImport) -> dict[str, str]:
        """See to it that a model may have the name; give who has which names by now."""
        entries = self._entries()
        self.names.check_free(entries, request)
        self._store.check_free(request.name)
        return self.names.claimed(entries)

    def _alone(self, name: str, doing: str) -> AbstractAsyncContextManager[None]:
        """Have a model for oneself, unless a job has it or waits for it; see `Claims.hold`."""
        for job in self._jobs.active():
            if job.kind == PULL and job.params.get("name") == name:
                raise conflict(name, "pulled", job.id)
        return self._claims.hold(name, doing)

    async def _delete(self, name: str) -> tuple[Model, bool]:
        """Delete a model; give what it was, and whether it is known without its files."""

        def aside() -> tuple[Model, Path, bool]:
            entry, problem = self._entries().get(name), self._unreadable.get(name, "")
            imported = name in self._store.imported()[0]
            trash = self._store.set_aside(name)
            if trash is None:
                raise NotFound(f'model "{name}" is not on this disk')
            if entry is None or problem:
                return _unreadable(name, problem), trash, name in self._entries()
            return self._model(entry, imported=imported), trash, name in self._entries()

        gone, trash, known = await self._renames.run(lambda _: aside())
        await asyncio.to_thread(shutil.rmtree, trash, ignore_errors=True)
        return gone, known

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def _entries(self) -> dict[str, ModelEntry]:
        """Read the catalogue again only when a file changed: every embed call asks for it."""
        files = [file for folder in self._catalogue_dirs for file in folder.glob("*.toml")]
        files += self._store.entry_files()
        signature = tuple((str(file), file.stat().st_mtime_ns) for file in sorted(files))
        if signature != self._signature:
            imported, self._unreadable = self._store.imported()
            known = load_catalogue(self._catalogue_dirs) | imported
            # Its folder is another's: the catalogue's files are not what lies there.
            self._known = {n: e for n, e in known.items() if n not in self._unreadable}
            self._signature = signature
        return self._known

    def _entry(self, name: str) -> ModelEntry:
        entries = self._entries()
        asked = self.names.default if name == "default" else name
        if problem := self._unreadable.get(asked):
            raise ModelCorrupt(
                f'model "{asked}": {problem}', hint=f"stackctl models remove {asked}"
            )
        return self.names.find(entries, name, here=self._is_here)

    def _is_here(self, entry: ModelEntry) -> bool:
        return self._store.state(entry) != "absent"

    def _removable(self, name: str) -> str:
        """Give the very name of a model that is here, in whatever state."""
        entries = self._entries()
        if name in self._unreadable:
            return name
        found = self.names.find_exact(entries, name, here=self._is_here).name
        if not self._store.directory(found).exists():
            raise NotFound(f'model "{found}" is not on this disk')
        return found

    def _list(self) -> ModelList:
        imported, problems = self._store.imported()
        entries = load_catalogue(self._catalogue_dirs) | imported
        found = {
            name: self._model(entry, imported=name in imported)
            for name, entry in entries.items()
            if name not in problems
        }
        found |= {name: _unreadable(name, problem) for name, problem in problems.items()}
        return ModelList(items=[found[name] for name in sorted(found)])

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
        name = str(params["name"])
        async with self._claims.hold(name, "pulled", job_id=context.job_id, wait=True):
            entry = await self._on_disk(lambda: self._entry(name))
            await self._puller.pull(entry, context)
            await self.ready(name)
        return {"name": name, "path": str(self._store.directory(name))}


def _unreadable(name: str, problem: str) -> Model:
    """Give what is known of an imported model whose entry cannot be read."""
    return Model(
        name=name,
        task="unknown",
        summary=problem,
        licence="unknown",
        dimensions=0,
        max_tokens=0,
        size_bytes=0,
        state="corrupt",
        imported=True,
        problem=problem,
    )
