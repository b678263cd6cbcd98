"""HTTP/1.1 over a Unix socket with the standard library's ``socket`` and ``json`` alone.

``http.client`` (50 ms of CPU: it imports email and ssl) and msgspec stay out, so that a thin
command stays thin. Refuses to know any route; a connection serves one request.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from stackctl import __version__, paths
from stackctl.client.view import View, decode, encode
from stackctl.errors import BadConfig, Denied, Failed, Invalid, TimedOut, Unreachable, rebuild

MAX_HEADER_BYTES = 64 * 1024
MAX_UNIX_PATH_BYTES = 107  # sun_path of Linux, less its NUL


class Transport:
    """Sends requests to the daemon's control socket.

    Args:
        socket_path: the socket; the default one when None.
        starter: starts the daemon when nothing listens, or None when that is forbidden.
        on_mismatch: told the daemon's version once when it is not ours.
        trace: told in a line what was done and how long it took; never a request's content.
        timeout_s: longest wait for one read, unless a request says otherwise.
    """

    def __init__(
        self,
        socket_path: Path | None = None,
        *,
        starter: Callable[[], None] | None = None,
        on_mismatch: Callable[[str], None] | None = None,
        trace: Callable[[str], None] | None = None,
        timeout_s: float = 90.0,
    ) -> None:
        self.socket_path = socket_path or paths.socket_path()
        self._starter = starter
        self._on_mismatch = on_mismatch
        self._trace = trace or _ignore
        self._timeout_s = timeout_s

    def request(
        self, method: str, path: str, body: Any = None, *, timeout_s: float | None = None
    ) -> Any:
        """Send one request and give the decoded reply.

        Raises:
            StackctlError: what the daemon answered, rebuilt from its code.
            Unreachable: nothing listens, or the connection broke.
            Denied: the socket belongs to another user.
            TimedOut: the answer took longer than ``timeout_s``.
        """
        with self._open(timeout_s) as connection:
            data = b"".join(self._exchange(connection, method, path, body))
        return _json(data) if data else None

    def stream(
        self, method: str, path: str, body: Any = None, *, timeout_s: float | None = None
    ) -> Iterator[Any]:
        """Send one request and give each line of its JSON-lines reply as it arrives.

        Raises:
            StackctlError: as `request`.
        """
        pending = b""
        with self._open(timeout_s) as connection:
            for block in self._exchange(connection, method, path, body):
                *lines, pending = (pending + block).split(b"\n")
                yield from (_item(line) for line in lines if line.strip())
        if pending.strip():
            yield _item(pending)

    def _open(self, timeout_s: float | None) -> socket.socket:
        timeout = self._timeout_s if timeout_s is None else timeout_s
        began = time.monotonic()
        try:
            connection = connect(self.socket_path, timeout)
        except Unreachable as err:
            self._trace(err.message)
            if self._starter is None or expected_uid() != os.getuid():
                raise
            self._starter()
            self._trace(f"started the daemon in {_ms(began)}")
            began = time.monotonic()
            connection = connect(self.socket_path, timeout, patience_s=5.0)
        self._trace(f"connected to {self.socket_path} in {_ms(began)}")
        return connection

    def _exchange(
        self, connection: socket.socket, method: str, path: str, body: Any
    ) -> Iterator[bytes]:
        """Write the request, check the answer's head, and give its body in blocks."""
        payload = b"" if body is None else encode(body).encode("utf-8", "surrogatepass")
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: stackctl\r\nConnection: close\r\n"
            f"Stackctl-Version: {__version__}\r\nAccept: application/json\r\n"
            f"Content-Length: {len(payload)}\r\n"
            + ("Content-Type: application/json\r\n\r\n" if payload else "\r\n")
        )
        began = time.monotonic()
        try:
            connection.sendall(head.encode("ascii") + payload)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It may have answered before it closed: a refusal is worth reading.
        except TimeoutError as err:
            raise TimedOut("the daemon does not read", hint="stackctl doctor") from err
        try:
            with connection.makefile("rb") as reader:
                status, headers = _read_head(reader)
                self._trace(f"{method} {path}: {status} in {_ms(began)}")
                self._compare_version(headers.get("stackctl-version", ""))
                blocks = _read_body(reader, headers)
                if status >= 400:
                    raise _error(status, b"".join(blocks), headers)
                yield from blocks
        except TimeoutError as err:
            raise TimedOut(
                f"the daemon did not answer {method} {path} in {connection.gettimeout():g} s",
                hint="stackctl doctor",
            ) from err
        except ConnectionError as err:
            raise Unreachable("the daemon closed the connection", hint="stackctl doctor") from err

    def _compare_version(self, version: str) -> None:
        if version and version != __version__ and self._on_mismatch is not None:
            report, self._on_mismatch = self._on_mismatch, None
            report(version)


def connect(path: Path, timeout_s: float, *, patience_s: float = 0.0) -> socket.socket:
    """Connect to a daemon of ours, of root's, or of ``STACKCTL_OWNER``'s, at ``path``.

    A full accept queue (EAGAIN) is tried again until ``timeout_s``; a socket that is absent or
    refuses, as while the daemon starts, until ``patience_s``.

    Raises:
        Unreachable: nothing listens there.
        Denied: it may not be opened, or a process of a user who is not expected listens.
        BadConfig: ``STACKCTL_OWNER`` names nobody, or stands without ``STACKCTL_SOCKET``.
        TimedOut: the accept queue stayed full.
    """
    owner = expected_uid()
    began = time.monotonic()
    delay_s = 0.005
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(timeout_s)
        try:
            _connect(connection, path)
            _check_owner(connection, path, owner)
            return connection
        except (BlockingIOError, TimeoutError) as err:
            connection.close()
            if time.monotonic() - began > timeout_s:
                raise TimedOut(f"the daemon at {path} accepts no connection") from err
        except (FileNotFoundError, ConnectionRefusedError) as err:
            connection.close()
            if time.monotonic() - began >= patience_s:
                raise _not_running(path, err, owner) from err
        except PermissionError as err:
            connection.close()
            raise Denied(
                f"{path} may not be opened by user {os.getuid()}: only its owner may, and the"
                " members of the owner's daemon.operator_group",
                hint="id && stackctl config show",
            ) from err
        except BaseException:
            connection.close()
            raise
        time.sleep(delay_s)
        delay_s = min(delay_s * 2, 0.1)


def _ignore(_: str) -> None:
    """Trace nothing."""


def _ms(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.1f} ms"


def _connect(connection: socket.socket, path: Path) -> None:
    if len(os.fsencode(path)) <= MAX_UNIX_PATH_BYTES:
        connection.connect(str(path))
        return
    # Longer than sun_path: go through a descriptor of its directory.
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)


def expected_uid() -> int:
    """Give the user whose daemon we speak to: ourselves, or who ``STACKCTL_OWNER`` names.

    Both variables are needed for another user's daemon: a path alone says nothing about who
    will listen there, and an owner alone would leave us with a socket of our own.

    Raises:
        BadConfig: ``STACKCTL_OWNER`` names nobody, or stands without ``STACKCTL_SOCKET``.
    """
    owner = os.environ.get("STACKCTL_OWNER", "")
    if not owner:
        return os.getuid()
    if not os.environ.get("STACKCTL_SOCKET"):
        raise BadConfig(
            f"STACKCTL_OWNER={owner} needs STACKCTL_SOCKET, the path of that user's socket",
            hint="unset STACKCTL_OWNER",
        )
    if owner.isdecimal():
        return int(owner)
    # Deferred: only who uses another's daemon by name looks a name up.
    import pwd

    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError as err:
        raise BadConfig(
            f"STACKCTL_OWNER={owner} is no user of this machine, expected a name or an id",
            hint="getent passwd",
        ) from err


def _check_owner(connection: socket.socket, path: Path, owner: int) -> None:
    # SO_PEERCRED gives who called listen(2): whoever replaced the file cannot forge it.
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", credentials)
    if uid not in (owner, 0):
        named = os.environ.get("STACKCTL_SOCKET")
        raise Denied(
            f"{path} is served by process {pid} of user {uid}, expected user {owner}",
            hint=f"export STACKCTL_OWNER={uid}  # if you trust that user"
            if named
            else f"ls -l {path}",
        )


def _not_running(path: Path, err: OSError, owner: int) -> Unreachable:
    fix = "stackctl up"
    if owner != os.getuid():
        fix = f"sudo -u '#{owner}' env STACKCTL_SOCKET={path} stackctl up"
    if isinstance(err, FileNotFoundError):
        return Unreachable(f"the daemon is not running: no socket {path}", hint=fix)
    return Unreachable(f"nothing listens on {path}: the daemon has ended", hint=fix)


def _read_head(reader: IO[bytes]) -> tuple[int, dict[str, str]]:
    line = _line(reader)
    parts = line.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise Unreachable(f"what listens is no stackctl daemon: it said {line[:60]!r}")
    headers: dict[str, str] = {}
    left = MAX_HEADER_BYTES
    while line := _line(reader):
        left -= len(line)
        if left < 0:
            raise Unreachable(f"the answer's header is above {MAX_HEADER_BYTES} bytes")
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(parts[1]), headers


def _line(reader: IO[bytes]) -> str:
    line = reader.readline(MAX_HEADER_BYTES)
    if not line.endswith(b"\n"):
        raise ConnectionResetError("the answer ended within its header")
    return line.rstrip(b"\r\n").decode("latin-1")


def _read_body(reader: IO[bytes], headers: dict[str, str]) -> Iterator[bytes]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        yield from _chunks(reader)
    elif "content-length" in headers:
        length = int(headers["content-length"])
        data = reader.read(length)
        if len(data) < length:
            raise ConnectionResetError("the answer ended within its body")
        yield data
    else:
        yield from iter(lambda: reader.read(65536), b"")


def _chunks(reader: IO[bytes]) -> Iterator[bytes]:
    while True:
        size = int(_line(reader).partition(";")[0], 16)
        if size == 0:
            while _line(reader):  # trailers
                pass
            return
        data = reader.read(size)
        if len(data) < size:
            raise ConnectionResetError("the answer ended within a chunk")
        yield data
        _line(reader)


def _json(data: bytes) -> Any:
    try:
        return decode(data)
    except ValueError as err:
        raise Failed(f"the daemon's answer is not JSON: {data[:60]!r}") from err


def _item(line: bytes) -> Any:
    """Give a line of a stream; what breaks it off comes as a last line in the shape of errors."""
    found = _json(line)
    if isinstance(found, View) and list(found) == ["error"]:
        raise _error(500, line, {})
    return found


def _error(status: int, data: bytes, headers: dict[str, str]) -> Exception:
    """Rebuild what the daemon raised; a body of another shape gives what its status stands for."""
    retry = headers.get("retry-after", "")
    retry_after_s = float(retry) if retry.replace(".", "", 1).isdigit() else None
    try:
        error = decode(data).error
        return rebuild(error.code, error.message, hint=error.hint, retry_after_s=retry_after_s)
    except (ValueError, AttributeError):
        text = data[:200].decode("utf-8", "replace").strip()
        kind = Invalid if status < 500 else Failed
        return kind(f"the daemon answered status {status}: {text}")
