"""A stand-in for an engine of completions (vLLM, Ollama, llama.cpp): it speaks their protocol.

Run as a process of its own; prints its port. It knows no model: what it says is what it was
asked, a word a piece. A streamed answer stops after its first piece until ``POST /release``, so
that a test sees whether pieces come through as they are sent. ``GET /gone`` answers once a
caller has left in the midst of an answer, ``GET /asked`` once it was asked for silence.
"""

from __future__ import annotations

import json
import select
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RELEASED = threading.Semaphore(0)
GONE = threading.Semaphore(0)
ASKED = threading.Semaphore(0)
WAIT_S = 20.0


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        told = {"/gone": GONE, "/asked": ASKED}[self.path]
        self.reply(200, {"told": told.acquire(timeout=WAIT_S)})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if self.path == "/release":
            RELEASED.release()
            self.reply(200, {})
            return
        text = str(body.get("prompt") or body["messages"][-1]["content"])
        if text.startswith("status "):
            _, status, kind = text.split()
            self.fail(int(status), kind)
        elif text == "silence":
            self.wait_until_gone()
        elif body.get("stream"):
            self.stream(text.split(), ending=text)
        else:
            self.reply(200, answer(body, text, self.headers, self.path))

    def fail(self, status: int, kind: str) -> None:
        if kind == "json":
            error = {"message": "told so", "type": "invalid_request_error", "code": "c"}
            self.reply(status, {"error": error}, retry_after="7")
        else:
            self.send(status, b"<html>oops</html>", "text/html")

    def stream(self, words: list[str], *, ending: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, word in enumerate(words):
            piece = {"choices": [{"index": 0, "delta": {"content": word}}], "object": "chunk"}
            self.piece(b"data: " + json.dumps(piece).encode() + b"\n\n")
            if number == 0 and not self.released():
                GONE.release()
                return
        if ending.startswith("break"):
            self.close_connection = True  # without the last chunk
            return
        self.piece(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def released(self) -> bool:
        """Wait for the release; False when the caller leaves before it."""
        for _ in range(int(WAIT_S * 50)):
            if RELEASED.acquire(timeout=0.02):
                return True
            if select.select([self.connection], [], [], 0)[0]:
                self.close_connection = True
                return False
        return True

    def wait_until_gone(self) -> None:
        ASKED.release()
        select.select([self.connection], [], [], WAIT_S)
        self.close_connection = True
        GONE.release()

    def piece(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def reply(self, status: int, body: Any, *, retry_after: str = "") -> None:
        self.send(status, json.dumps(body).encode(), "application/json", retry_after)

    def send(self, status: int, data: bytes, kind: str, retry_after: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(data)


def answer(body: Any, text: str, headers: Any, path: str) -> Any:
    message = {"role": "assistant", "content": text}
    told = {"authorization": headers.get("Authorization"), "path": path, "asked": body}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "text": text, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        "told": told,
    }


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
