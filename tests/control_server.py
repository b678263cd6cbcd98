"""A real HTTP server on a Unix socket with scripted routes, for tests of the client and the CLI.

Built on the standard library's ``http.server``, so the client is held to an implementation of
HTTP that is not ours.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any

from stackctl import __version__

Answer = Any
"""A JSON value; a list is JSON lines; ``(status, value)``; or a function of the body."""


class Handler(BaseHTTPRequestHandler):
    """Answers from the server's routes."""

    protocol_version = "HTTP/1.1"
    server: ControlServer

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.seen.append((self.command, self.path, body))
        self.server.headers.append(dict(self.headers))
        missing = (404, error("not_found", f'no route "{self.path}"', "stackctl doctor"))
        answer = self.server.routes.get((self.command, self.path), missing)
        if callable(answer):
            answer = answer(body)
        status, value = answer if isinstance(answer, tuple) else (200, answer)
        self.send_response(status)
        self.send_header("Stackctl-Version", self.server.version)
        if isinstance(value, list):
            self._lines(value)
            return
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _lines(self, values: list[Any]) -> None:
        """Send JSON lines in chunks that do not end where lines do."""
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        data = b"".join(json.dumps(value).encode() + b"\n" for value in values)
        for start in range(0, len(data), 37):
            block = data[start : start + 37]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_DELETE = _answer

    def address_string(self) -> str:
        """A Unix peer has no address."""
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep test output clean."""


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """Serves ``routes`` at ``path`` until the with block ends."""

    daemon_threads = True

    def __init__(self, path: Path, version: str = __version__) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.version = version
        self.routes: dict[tuple[str, str], Answer | Callable[[Any], Answer]] = {}
        self.seen: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        super().__init__(str(path), Handler)

    def __enter__(self) -> ControlServer:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        self.path.unlink(missing_ok=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no news."""


def error(code: str, message: str, hint: str = "") -> dict[str, Any]:
    """Give the one error shape."""
    return {"error": {"code": code, "message": message, "hint": hint, "request_id": "r1"}}


def job(state: str = "succeeded", **fields: Any) -> dict[str, Any]:
    """Give a job as the daemon words it."""
    return {
        "id": "j1",
        "kind": "search.index",
        "title": "index 3 paths",
        "state": state,
        "progress": {
            "done": 3,
            "total": 3,
            "unit": "file",
            "rate_per_s": 1.5,
            "eta_s": 0.0,
            "message": "",
        },
        "created_at": "2026-03-01T10:00:00Z",
        "started_at": "2026-03-01T10:00:01Z",
        "finished_at": None,
        "attempts": 1,
        "params": {},
        "result": None,
        "error_code": "",
        "error_message": "",
        "error_hint": "",
    } | fields


INDEXED = {
    "indexed": 2,
    "unchanged": 1,
    "removed": 0,
    "chunks": 9,
    "elapsed_s": 1.25,
    "skipped": [{"path": "/d/huge.bin", "reason": "binary"}],
    "failed": [{"path": "/d/broken.pdf", "reason": "not a PDF"}],
}
VERSION = {
    "version": __version__,
    "api": "v1",
    "pid": 4242,
    "target": "all",
    "started_at": "2026-03-01T10:00:00Z",
    "uptime_s": 65.0,
}
DEVICE = {
    "id": "cpu:0",
    "kind": "cpu",
    "name": "Some CPU",
    "uuid": "",
    "cores": [0, 1],
    "memory_total_bytes": 8 << 30,
    "memory_used_bytes": 1 << 30,
    "utilisation": None,
    "temperature_c": None,
    "worker_state": "ready",
    "worker_pid": 99,
    "worker_memory_bytes": 333 << 20,
    "models_memory_bytes": 64 << 20,
    "worker_restarts": 0,
    "execution_provider": "CPUExecutionProvider",
    "models": ["all-minilm-l6-v2"],
    "queued": 3,
}
MODEL = {
    "name": "all-minilm-l6-v2",
    "task": "embedding",
    "summary": "small and quick",
    "licence": "Apache-2.0",
    "dimensions": 384,
    "max_tokens": 256,
    "size_bytes": 91_000_000,
    "state": "present",
    "path": "/m",
    "imported": False,
    "loaded_on": [],
    "aliases": ["minilm"],
}
COLLECTION = {
    "name": "default",
    "model": "all-minilm-l6-v2",
    "documents": 3,
    "chunks": 9,
    "sources": [{"path": "/d", "watched": True}],
    "updated_at": "2026-03-01T10:00:00Z",
}
STATUS = {
    "daemon": VERSION,
    "areas": [
        {"name": "search", "state": "ready", "reason": "", "hint": ""},
        {"name": "analytics", "state": "degraded", "reason": "store is corrupt", "hint": ""},
    ],
    "devices": [DEVICE],
    "collections": [COLLECTION],
    "jobs": [],
    "summary": {
        "window_s": 3600.0,
        "rows": [
            {
                "kind": "request",
                "name": "search.query",
                "count": 7,
                "errors": 1,
                "items": 0,
                "p50_s": 0.012,
                "p95_s": 0.05,
                "p99_s": 0.07,
            }
        ],
        "events_stored": 120,
        "events_pending": 3,
    },
    "memory_rss_bytes": 100 << 20,
}
REPLY = {
    "query": "rotate keys",
    "collection": "default",
    "mode": "hybrid",
    "hits": [
        {
            "rank": 1,
            "score": 0.5,
            "citation": {
                "path": "/d/keys.md",
                "heading": "Keys > Rotation",
                "page": None,
                "line_start": 12,
                "line_end": 20,
            },
            "title": "Keys",
            "type": "markdown",
            "snippet": "To rotate a key,\nmake a new one.",
            "highlights": [[3, 9]],
            "keyword_rank": 1,
            "semantic_rank": 2,
            "keyword_score": 4.2,
            "semantic_score": 0.7,
        }
    ],
    "elapsed_s": 0.013,
}


def script(server: ControlServer) -> None:
    """Give a server the routes of a healthy daemon with one collection."""
    server.routes |= {
        ("GET", "/v1/version"): VERSION,
        ("GET", "/v1/status"): STATUS,
        ("GET", "/v1/config"): {
            "values": {"inference": {"default_model": "all-minilm-l6-v2"}},
            "sources": ["defaults"],
        },
        ("POST", "/v1/config/reload"): {"values": {}, "sources": ["defaults", "/c.toml"]},
        ("POST", "/v1/repair"): lambda body: {"area": body["area"], "actions": ["rebuilt it"]},
        ("GET", "/v1/models"): {"items": [MODEL]},
        ("GET", "/v1/models/default"): MODEL,
        ("GET", "/v1/models/minilm"): MODEL,
        ("POST", "/v1/models/default/pull"): (202, job("succeeded", kind="models.pull")),
        ("POST", "/v1/models/all-minilm-l6-v2/verify"): {
            "name": "all-minilm-l6-v2",
            "ok": True,
            "problems": [],
        },
        ("DELETE", "/v1/models/all-minilm-l6-v2"): MODEL,
        ("POST", "/v1/models/import"): lambda body: {
            **MODEL,
            "name": body["name"],
            "aliases_taken": [],
        },
        ("GET", "/v1/devices"): {"items": [DEVICE], "problems": ["no NVIDIA driver"]},
        ("GET", "/v1/collections"): {"items": [COLLECTION]},
        ("GET", "/v1/collections/default"): COLLECTION,
        ("DELETE", "/v1/collections/default"): {},
        ("POST", "/v1/index"): (202, job("running")),
        ("GET", "/v1/jobs"): {"items": [job("running")]},
        ("GET", "/v1/jobs/j1"): job("running"),
        ("GET", "/v1/jobs/j1/events"): [job("running"), job(result=INDEXED)],
        ("POST", "/v1/jobs/j1/cancel"): job("cancelled"),
        ("POST", "/v1/search"): REPLY,
        ("POST", "/v1/events"): lambda body: {"accepted": len(body["events"])},
        ("GET", "/v1/analytics/summary?window_s=60"): STATUS["summary"],
    }
