"""The `hf:` source against a server that speaks the hub's resolve API, over real sockets."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from model_source import CONTENT, Area, entry

from stackctl.errors import ModelFetchFailed

COMMIT = "c" * 40
TOKEN = "hf_test"  # noqa: S105  the loopback server's own
SOURCE = "hf:someone/tiny@v1#onnx/NAME"


class Hub(http.server.ThreadingHTTPServer):
    """Resolves by a redirect to a second server, as the hub does to its CDN."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.cdn = http.server.ThreadingHTTPServer(("127.0.0.1", 0), CdnHandler)
        self.cdn.hub = self  # type: ignore[attr-defined]  # how the handler finds us
        self.location = f"http://127.0.0.1:{self.cdn.server_port}"
        self.gated = False
        self.cut_after: int | None = None
        self.lost = False
        self.seen: list[tuple[str, str, str | None, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def note(self, hub: Hub, who: str) -> None:
        heads = self.headers
        hub.seen.append((who, self.path, heads.get("Range"), heads.get("Authorization")))

    def answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


class HubHandler(Handler):
    server: Hub

    def do_GET(self) -> None:
        hub = self.server
        self.note(hub, "hub")
        if hub.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            told = "Access to model someone/tiny is restricted. Please log in."
            self.answer(401, X_Error_Code="GatedRepo", X_Error_Message=told)
            return
        start = "/someone/tiny/resolve/v1/onnx/"
        if not self.path.startswith(start):
            told = "Invalid rev id: nonesuch"
            self.answer(404, X_Error_Code="RevisionNotFound", X_Error_Message=told)
            return
        name = unquote(self.path.removeprefix(start))
        digest = hashlib.sha256(CONTENT[name]).hexdigest()
        self.answer(
            302,
            Location=f"{hub.location}/blobs/{name}?Signature=x",
            X_Repo_Commit=COMMIT,
            X_Linked_Etag=f'"{digest}"',
            X_Linked_Size=str(len(CONTENT[name])),
            ETag=f'"{COMMIT}"',
        )


class CdnHandler(Handler):
    def do_GET(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]  # set by Hub
        self.note(hub, "cdn")
        if hub.lost:
            self.answer(403)
            return
        data = CONTENT[self.path.removeprefix("/blobs/").partition("?")[0]]
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(data):
            self.answer(416)
            return
        body = data[start:]
        spread = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if wanted else {}
        self.answer(206 if wanted else 200, Content_Length=str(len(body)), **spread)
        self.wfile.write(body[: hub.cut_after])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with Hub() as made, made.cdn:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        threads = [
            threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02})
            for one in (made, made.cdn)
        ]
        for thread in threads:
            thread.start()
        yield made
        made.shutdown()
        made.cdn.shutdown()
        for thread in threads:
            thread.join()


def test_files_come_through_the_redirect(tmp_path: Path, hub: Hub) -> None:
    area = Area(tmp_path, entry(SOURCE))

    area.pull()

    assert area.state() == "present"
    weights = hub.seen[:2]
    assert [who for who, *_ in weights] == ["hub", "cdn"]
    assert weights[0][1] == "/someone/tiny/resolve/v1/onnx/weights.onnx"


def test_a_cut_transfer_goes_on_through_the_redirect(tmp_path: Path, hub: Hub) -> None:
    area = Area(tmp_path, entry(SOURCE))
    hub.cut_after = 1_000_000
    with pytest.raises(ModelFetchFailed, match="ended after 1000000 of 2097152 bytes"):
        area.pull()
    hub.cut_after = None

    area.pull()

    assert area.state() == "present"
    assert "bytes=1000000-" in [wanted for who, _, wanted, _ in hub.seen if who == "cdn"]


def test_a_gated_repository_says_how_to_log_in(tmp_path: Path, hub: Hub) -> None:
    hub.gated = True
    area = Area(tmp_path, entry(SOURCE))

    with pytest.raises(ModelFetchFailed, match=r"answered 401: Access to model .* log in") as told:
        area.pull()

    assert told.value.hint == "hf auth login"


def test_the_users_token_opens_it_and_stays_with_the_hub(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    area = Area(tmp_path, entry(SOURCE))

    area.pull()

    assert area.state() == "present"
    assert {who: sent for who, _, _, sent in hub.seen} == {"hub": f"Bearer {TOKEN}", "cdn": None}


def test_an_unknown_revision_and_a_lost_blob_are_told(tmp_path: Path, hub: Hub) -> None:
    hub.lost = True
    area = Area(tmp_path, entry("hf:someone/tiny@nonesuch#onnx/NAME", SOURCE))

    with pytest.raises(ModelFetchFailed) as told:
        area.pull()

    assert "answered 404: Invalid rev id: nonesuch" in told.value.message
    assert f"answered 403 through {hub.location.removeprefix('http://')}" in told.value.message
    assert "Signature" not in told.value.message


def test_a_hub_that_never_answers_is_left_in_seconds(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, data in CONTENT.items():
        (tmp_path / name).write_bytes(data)
    with socket.create_server(("127.0.0.1", 0)) as hole:  # takes connections, never answers
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hole.getsockname()[1]}")
        area = Area(tmp_path, entry(SOURCE, f"file:{tmp_path}/NAME"), connect_timeout_s=0.3)
        begun = time.monotonic()

        area.pull()

    assert time.monotonic() - begun < 5
    assert area.state() == "present"


def test_wrong_bytes_are_never_kept(tmp_path: Path, hub: Hub) -> None:
    area = Area(tmp_path, entry(SOURCE, **{"weights.onnx": "0" * 64}))

    with pytest.raises(ModelFetchFailed, match="expected 0000"):
        area.pull()

    assert area.names() == []


def test_a_redirect_to_plain_http_is_refused(tmp_path: Path, hub: Hub) -> None:
    hub.location = "http://cdn.example.invalid"
    area = Area(tmp_path, entry(SOURCE))

    with pytest.raises(ModelFetchFailed, match=r"cdn\.example\.invalid/.* is not https"):
        area.pull()


@pytest.mark.parametrize("left", [b"of another source" * 1000, b"\0" * 3_000_000])
def test_what_another_source_left_does_not_spoil_the_file(
    tmp_path: Path, hub: Hub, left: bytes
) -> None:
    area = Area(tmp_path, entry(SOURCE))
    area.directory.mkdir(parents=True)
    (area.directory / "weights.onnx.part").write_bytes(left)

    area.pull()

    assert area.state() == "present"


@pytest.mark.parametrize(
    ("left", "reason"),
    [(b"", "has 13 bytes, expected 2097152"), (b"an older half", "answered 416")],
)
def test_a_file_of_another_size_is_refused_and_leaves_nothing(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, left: bytes, reason: str
) -> None:
    area = Area(tmp_path, entry(SOURCE))
    monkeypatch.setitem(CONTENT, "weights.onnx", b"an error page")
    area.directory.mkdir(parents=True)
    if left:
        (area.directory / "weights.onnx.part").write_bytes(left)

    with pytest.raises(ModelFetchFailed, match=reason):
        area.pull()

    assert area.names() == []


def test_names_and_addresses_that_are_none_leave_the_next_source_its_turn(
    tmp_path: Path, hub: Hub
) -> None:
    area = Area(tmp_path, entry("hf:not a name#NAME", "https://[::1/NAME", SOURCE))

    area.pull()

    assert area.state() == "present"
