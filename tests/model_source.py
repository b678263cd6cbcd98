"""A server of model files, an entry that names it, and the models area over a directory."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fakes.inline_jobs import Context, InlineJobs

from stackctl.contracts.job import Job
from stackctl.contracts.model import ModelEntry, ModelFile
from stackctl.settings import ModelSettings
from stackctl_daemon.models.catalogue import to_toml
from stackctl_daemon.models.service import ModelService

CONTENT = {
    "weights.onnx": bytes(range(256)) * 8192,  # 2 MiB
    "tokenizer.json": b'{"version": "1.0"}',
}


class Reports(Context):
    """A job's context that keeps every report of progress; ``cancelled`` ends the job."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[tuple[int, int | None, str]] = []
        self.cancelled: Callable[[], bool] = lambda: False

    def progress(
        self, done: int, total: int | None = None, *, unit: str = "item", message: str = ""
    ) -> None:
        self.reports.append((done, total, unit))

    def check_cancelled(self) -> None:
        if self.cancelled():
            raise asyncio.CancelledError


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT with ranges; may cut a reply short, or hold it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.cut_after: int | None = None
        self.hold: threading.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        data = CONTENT.get(self.path.lstrip("/"))
        if data is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        try:
            if self.server.cut_after is not None:
                self.wfile.write(body[: self.server.cut_after])
            elif self.server.hold:
                self.wfile.write(body[:300_000])
                self.server.hold.wait(20)
                self.wfile.write(body[300_000:])
            else:
                self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            return

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def serving() -> Iterator[Server]:
    """Give a server that answers until the block ends."""
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        if made.hold:
            made.hold.set()
        made.shutdown()
        thread.join()


def entry(*patterns: str, **changes: str) -> ModelEntry:
    """An entry whose files come from ``patterns`` with NAME filled in."""
    return ModelEntry(
        name="tiny", task="embedding", summary="a test's", licence="CC0-1.0",
        dimensions=4, max_tokens=8, architecture="onnx", aliases=["small"],
        files=[
            ModelFile(
                name=name,
                sha256=changes.get(name) or hashlib.sha256(data).hexdigest(),
                size_bytes=len(data),
                sources=[pattern.replace("NAME", name) for pattern in patterns],
            )
            for name, data in CONTENT.items()
        ],
    )  # fmt: skip


class Area:
    """A model service over a directory of the test."""

    def __init__(self, root: Path, *entries: ModelEntry, **settings: Any) -> None:
        self.root = root
        catalogue = root / "catalogue"
        catalogue.mkdir(exist_ok=True)
        for item in entries:
            (catalogue / f"{item.name}.toml").write_text(to_toml(item))
        self.jobs = Reports()
        jobs = InlineJobs()
        jobs.context = self.jobs
        self.service = ModelService(
            ModelSettings(**{"connect_timeout_s": 2.0, **settings}),
            [catalogue],
            root / "data",
            root / "cache",
            jobs,
        )
        self.directory = root / "data" / "models" / "tiny"

    def state(self) -> str:
        return asyncio.run(self.service.list()).items[0].state

    def pull(self, name: str = "tiny") -> Job:
        return asyncio.run(self.service.pull(name))

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())
