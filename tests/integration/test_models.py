"""Pulls over real sockets and a real pip, from servers and wheels made here."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import json
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stackctl.contracts.job import Job, JobProgress
from stackctl.contracts.model import ModelEntry, ModelFile, ModelImport
from stackctl.errors import (
    Conflict,
    DiskFull,
    Invalid,
    ModelCorrupt,
    ModelFetchFailed,
    NotFound,
)
from stackctl.settings import ModelSettings
from stackctl_daemon.jobs import JobKind
from stackctl_daemon.models.catalogue import to_toml
from stackctl_daemon.models.service import ModelService

pytestmark = pytest.mark.integration

CONTENT = {
    "weights.onnx": bytes(range(256)) * 8192,  # 2 MiB
    "tokenizer.json": b'{"version": "1.0"}',
}


class InlineJobs:
    """Runs a job while it is submitted, and is its context."""

    job_id = "inline"

    def __init__(self) -> None:
        self.kinds: dict[str, JobKind] = {}
        self.reports: list[tuple[int, int | None, str]] = []
        self.cancelled: Callable[[], bool] = lambda: False

    def register(self, kind: JobKind) -> None:
        self.kinds[kind.name] = kind

    def active(self) -> list[Job]:
        return []

    async def submit(self, kind: str, title: str, params: dict[str, Any]) -> Job:
        result = await self.kinds[kind].handler(self, params)
        return Job(
            id="inline", kind=kind, title=title, state="succeeded", progress=JobProgress(),
            created_at="", result=result,
        )  # fmt: skip

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


@pytest.fixture
def server() -> Iterator[Server]:
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
        self.jobs = InlineJobs()
        self.service = ModelService(
            ModelSettings(**{"connect_timeout_s": 2.0, **settings}),
            [catalogue],
            root / "data",
            root / "cache",
            self.jobs,
        )
        self.directory = root / "data" / "models" / "tiny"

    def state(self) -> str:
        return asyncio.run(self.service.list()).items[0].state

    def pull(self, name: str = "tiny") -> Job:
        return asyncio.run(self.service.pull(name))

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


def test_pull_fetches_verifies_and_reports_bytes(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    assert area.state() == "absent"

    area.pull("small")

    total = sum(map(len, CONTENT.values()))
    assert area.state() == "present"
    assert area.names() == ["tokenizer.json", "verified.json", "weights.onnx"]
    assert area.jobs.reports[-1] == (total, total, "byte")
    assert asyncio.run(area.service.verify("tiny")).ok
    ready = asyncio.run(area.service.ready("small"))
    assert ready.graph.read_bytes() == CONTENT["weights.onnx"]


def test_cut_transfer_goes_on_where_it_ended(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    server.cut_after = 1_000_000
    with pytest.raises(ModelFetchFailed, match=r"weights\.onnx"):
        area.pull()
    assert area.state() == "absent"
    server.cut_after = None

    area.pull()

    assert "bytes=1000000-" in server.ranges
    assert area.state() == "present"


def test_cancelled_pull_ends_promptly_and_resumes(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    server.hold = threading.Event()

    async def cancel() -> None:
        pulling = asyncio.ensure_future(area.service.pull("tiny"))
        part = area.directory / "weights.onnx.part"
        while not (part.exists() and part.stat().st_size):
            await asyncio.sleep(0.01)
        pulling.cancel()
        assert server.hold
        server.hold.set()
        with pytest.raises(asyncio.CancelledError):
            await pulling

    asyncio.run(cancel())
    assert area.state() == "absent"
    server.hold = None

    area.pull()

    assert server.ranges[1] not in (None, "bytes=0-")
    assert area.state() == "present"


def test_job_cancelled_by_its_context_stops(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    server.hold = threading.Event()
    hold = server.hold

    def cancelled() -> bool:
        hold.set()
        return True

    area.jobs.cancelled = cancelled

    with pytest.raises(asyncio.CancelledError):
        area.pull()


def test_failed_source_falls_to_the_next_and_all_reasons_are_told(
    tmp_path: Path, server: Server
) -> None:
    missing = f"file:{tmp_path}/nowhere/NAME"
    wrong = f"https:{server.url}/nonesuch/NAME"
    good = Area(tmp_path, entry(missing, wrong, f"https:{server.url}/NAME"))
    good.pull()
    assert good.state() == "present"
    (tmp_path / "b").mkdir()
    bad = Area(tmp_path / "b", entry(missing, wrong, "gopher:x", "http://example.invalid/NAME"))

    with pytest.raises(ModelFetchFailed) as caught:
        bad.pull()

    for part in ("No such file", "answered 404", 'unknown scheme "gopher"'):
        assert part in caught.value.message


def test_wrong_bytes_are_never_kept(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME", **{"weights.onnx": "0" * 64}))

    with pytest.raises(ModelFetchFailed, match="expected 0000"):
        area.pull()

    assert area.names() == []


def test_damage_is_found_and_a_pull_mends_it(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    area.pull()
    weights = area.directory / "weights.onnx"
    data = bytearray(weights.read_bytes())
    data[12345] ^= 1
    weights.write_bytes(data)

    with pytest.raises(ModelCorrupt) as caught:
        asyncio.run(area.service.ready("tiny"))
    assert caught.value.hint == "stackctl models pull tiny"
    assert area.state() == "corrupt"
    assert not asyncio.run(area.service.verify("tiny")).ok
    area.pull()

    assert asyncio.run(area.service.verify("tiny")).ok
    assert server.ranges.count(None) == 3  # the tokenizer was not fetched again


def test_offline_names_the_setting(tmp_path: Path, server: Server) -> None:
    area = Area(tmp_path, entry(f"https:{server.url}/NAME", "pypi:x==1#NAME"), offline=True)

    with pytest.raises(ModelFetchFailed, match="offline is set"):
        area.pull()

    assert server.ranges == []


def test_full_disk_is_told_as_such(tmp_path: Path, server: Server) -> None:
    """The kernel's own full device stands for the disk."""
    area = Area(tmp_path, entry(f"https:{server.url}/NAME"))
    area.directory.mkdir(parents=True)
    (area.directory / "weights.onnx.part").symlink_to("/dev/full")

    with pytest.raises(DiskFull, match="no space left") as caught:
        area.pull()

    assert caught.value.hint == f"df -h {area.directory}"


def make_wheel(directory: Path) -> None:
    info = "tinymodel-1.0.dist-info"
    with zipfile.ZipFile(directory / "tinymodel-1.0-py3-none-any.whl", "w") as archive:
        for name, data in CONTENT.items():
            archive.writestr(f"tinymodel/{name}", data)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinymodel\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_files_come_out_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path)
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(tmp_path))
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
    area = Area(tmp_path, entry("pypi:tinymodel==1.0#tinymodel/NAME"))

    area.pull()

    assert area.state() == "present"
    assert not (tmp_path / "cache" / "wheels").exists()


def test_silent_index_fails_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:  # takes connections, never answers
        url = f"http://127.0.0.1:{hole.getsockname()[1]}/simple"
        for variable in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"):
            monkeypatch.setenv(variable, url)
        for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
            monkeypatch.delenv(variable, raising=False)
        area = Area(tmp_path, entry("pypi:tinymodel==1.0#tinymodel/NAME"), connect_timeout_s=1)
        begun = time.monotonic()

        with pytest.raises(ModelFetchFailed, match=r"tinymodel==1\.0"):
            area.pull()

        assert time.monotonic() - begun < 30


def test_import_copies_describes_and_can_be_removed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.onnx").write_bytes(b"onnx")
    (source / "tokenizer.json").write_bytes(b"{}")
    area = Area(tmp_path)
    request = ModelImport(name="mine", path=str(source), licence="MIT")
    with pytest.raises(Invalid, match=r"config\.json"):
        asyncio.run(area.service.take(request))
    config = {"hidden_size": 12, "max_position_embeddings": 2048}
    (source / "config.json").write_text(json.dumps(config))

    model = asyncio.run(area.service.take(request))

    assert (model.state, model.imported, model.dimensions) == ("present", True, 12)
    assert (model.max_tokens, model.licence) == (512, "MIT")
    assert asyncio.run(area.service.ready("mine")).graph.name == "model.onnx"
    with pytest.raises(Conflict, match="mine"):
        asyncio.run(area.service.take(request))
    assert asyncio.run(area.service.remove("mine")).state == "absent"
    assert asyncio.run(area.service.list()).items == []
    leftovers = [p.name for p in (tmp_path / "data" / "models").iterdir()]
    assert leftovers == []


@pytest.mark.parametrize("name", ["../x", "", "A", "a/b", ".hidden"])
def test_import_refuses_names_that_are_no_directory(tmp_path: Path, name: str) -> None:
    area = Area(tmp_path)

    with pytest.raises(Invalid, match="model name"):
        asyncio.run(area.service.take(ModelImport(name=name, path=str(tmp_path))))


def test_removed_and_unknown_models_are_not_found(tmp_path: Path) -> None:
    area = Area(tmp_path, entry("file:/nonexistent/NAME"))

    for call in (area.service.remove("tiny"), area.service.ready("tiny")):
        with pytest.raises(NotFound, match="not on this disk"):
            asyncio.run(call)
    with pytest.raises(NotFound, match="catalogue"):
        area.pull("nonesuch")


def test_entries_survive_toml(tmp_path: Path) -> None:
    from stackctl_daemon.models.catalogue import read_entry

    odd = msgspec.structs.replace(entry("file:/a b/NAME"), summary='q"\\ \n\t\x7f é 𝄞')
    file = tmp_path / "x.toml"
    file.write_text(to_toml(odd), encoding="utf-8")

    assert read_entry(file) == odd
