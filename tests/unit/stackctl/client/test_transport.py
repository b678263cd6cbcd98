from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_server import ControlServer, error

from stackctl import __version__
from stackctl.client.transport import Transport, connect
from stackctl.errors import (
    Denied,
    Failed,
    Invalid,
    NotFound,
    Overloaded,
    TimedOut,
    Unreachable,
)


@pytest.fixture
def server(own_home: Path) -> Iterator[ControlServer]:
    with ControlServer(own_home / "run" / "stackctld.sock") as running:
        yield running


def test_a_reply_is_read_by_attributes_even_where_dict_has_a_method(server: ControlServer) -> None:
    server.routes["GET", "/v1/x"] = {"items": [{"name": "größe"}], "count": 1}

    reply = Transport().request("GET", "/v1/x")

    assert [item.name for item in reply.items] == ["größe"]
    assert reply["count"] == 1


def test_versions_go_both_ways_and_a_mismatch_is_told_once(own_home: Path) -> None:
    told: list[str] = []
    with ControlServer(own_home / "run" / "stackctld.sock", version="9.9") as server:
        server.routes["GET", "/v1/x"] = {}
        transport = Transport(on_mismatch=told.append)
        transport.request("GET", "/v1/x")
        transport.request("GET", "/v1/x")

    assert told == ["9.9"]
    assert server.headers[0]["Stackctl-Version"] == __version__


def test_an_error_is_rebuilt_from_its_code(server: ControlServer) -> None:
    server.routes["POST", "/v1/x"] = (404, error("not_found", "no such thing", "stackctl up"))

    with pytest.raises(NotFound, match="no such thing") as caught:
        Transport().request("POST", "/v1/x", {"a": 1})

    assert caught.value.hint == "stackctl up"
    assert server.seen == [("POST", "/v1/x", {"a": 1})]


@pytest.mark.parametrize(("status", "kind"), [(418, Invalid), (502, Failed)])
def test_an_error_of_another_shape_keeps_its_status(
    server: ControlServer, status: int, kind: type[Exception]
) -> None:
    server.routes["GET", "/v1/x"] = (status, b"<html>")

    with pytest.raises(kind, match=f"status {status}: <html>"):
        Transport().request("GET", "/v1/x")


def test_json_lines_arrive_whole_though_chunks_cut_them(server: ControlServer) -> None:
    server.routes["GET", "/v1/x"] = [{"n": n, "text": "x" * n} for n in range(50)]

    lines = list(Transport().stream("GET", "/v1/x"))

    assert [line.n for line in lines] == list(range(50))


def test_a_reply_that_is_no_json_fails(server: ControlServer) -> None:
    server.routes["GET", "/v1/x"] = b"not json"

    with pytest.raises(Failed, match="not JSON"):
        Transport().request("GET", "/v1/x")


def test_no_socket_says_how_to_start() -> None:
    with pytest.raises(Unreachable, match="not running") as caught:
        Transport().request("GET", "/v1/x")

    assert caught.value.hint == "stackctl up"


def test_a_stale_socket_is_unreachable(own_home: Path) -> None:
    path = own_home / "run" / "stackctld.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))

    with pytest.raises(Unreachable, match="nothing listens"):
        Transport().request("GET", "/v1/x")


def test_the_starter_is_asked_only_when_nothing_listens(own_home: Path) -> None:
    path = own_home / "run" / "stackctld.sock"
    servers: list[ControlServer] = []

    def start() -> None:
        server = ControlServer(path)
        server.routes["GET", "/v1/x"] = {"ok": True}
        servers.append(server.__enter__())

    transport = Transport(starter=start)
    try:
        assert transport.request("GET", "/v1/x").ok
        assert transport.request("GET", "/v1/x").ok
        assert len(servers) == 1
    finally:
        for server in servers:
            server.__exit__(None, None, None)


def test_a_socket_that_appears_while_we_wait_is_used(own_home: Path) -> None:
    path = own_home / "run" / "stackctld.sock"
    path.parent.mkdir(parents=True)
    listener = socket.socket(socket.AF_UNIX)
    # Bound but not listening refuses, as a daemon between bind and listen does.
    listener.bind(str(path))
    later = threading.Timer(0.02, listener.listen)
    later.start()
    try:
        connect(path, 5.0, patience_s=5.0).close()
    finally:
        later.join()
        listener.close()


def _answer_once(path: Path, answer: bytes) -> threading.Thread:
    """Listen, read one request's head, send raw bytes and close."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_unreachable(own_home: Path, answer: bytes) -> None:
    path = own_home / "run" / "stackctld.sock"
    thread = _answer_once(path, answer)

    with pytest.raises(Unreachable):
        Transport().request("GET", "/v1/x")

    thread.join()


def test_a_reply_without_a_length_ends_with_the_connection(own_home: Path) -> None:
    thread = _answer_once(own_home / "run" / "stackctld.sock", b'HTTP/1.1 200 OK\r\n\r\n{"a": 1}')

    assert Transport().request("GET", "/v1/x").a == 1

    thread.join()


def test_retry_after_reaches_the_error(own_home: Path) -> None:
    body = b'{"error": {"code": "overloaded", "message": "full", "hint": ""}}'
    head = b"HTTP/1.1 429 Too Many\r\nRetry-After: 1.5\r\nContent-Length: %d\r\n\r\n" % len(body)
    thread = _answer_once(own_home / "run" / "stackctld.sock", head + body)

    with pytest.raises(Overloaded) as caught:
        Transport().request("GET", "/v1/x")

    assert caught.value.retry_after_s == 1.5
    thread.join()


def test_silence_times_out(own_home: Path) -> None:
    path = own_home / "run" / "stackctld.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        with pytest.raises(TimedOut, match=r"GET /v1/x in 0\.05 s"):
            Transport(timeout_s=0.05).request("GET", "/v1/x")


def test_a_full_accept_queue_times_out(own_home: Path) -> None:
    path = own_home / "run" / "stackctld.sock"
    path.parent.mkdir(parents=True)
    waiting = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        try:
            with pytest.raises(TimedOut, match="accepts no connection"):
                while True:
                    waiting.append(connect(path, 0.05))
        finally:
            for connection in waiting:
                connection.close()


def test_a_path_longer_than_sun_path_works(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    directory = os.open(folder, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{directory}/s")
            listener.listen()

            connect(folder / "s", 1.0).close()
    finally:
        os.close(directory)


SERVE = """
import os, socket, sys
os.setuid(12345)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1]); listener.listen(); print("up", flush=True); sys.stdin.read()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_another_users_socket_is_refused() -> None:
    # Not below tmp_path, which other users may not enter.
    path = Path(f"/tmp/stackctl-test-{os.getpid()}.sock")
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"up\n"
            with pytest.raises(Denied, match="user 12345, expected user 0"):
                connect(path, 1.0)
        finally:
            path.unlink(missing_ok=True)
            other.communicate(b"")
