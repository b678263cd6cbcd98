"""The API's port on loopback: who may come in, and the token that says so.

A page in a browser of this machine can reach the port too. So the header must name a loopback
host, which a rebound DNS name does not, and must come from no other site; nothing here answers
a preflight. Refuses every address that is not loopback.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from stackctl.errors import BadConfig, Denied, Failed
from stackctl_daemon.http.auth import OPERATOR, Peer
from stackctl_daemon.http.registry import Permission
from stackctl_daemon.http.socket import BACKLOG

PREFIX = "sk-stackctl-"
_MAX_TOKEN_BYTES = 512
_TOKEN = re.compile(r"[\x21-\x7e]{16,512}")
_FIX = "stackctl api token"


class NoToken(Denied):
    """The caller did not say who it is."""

    status = 401


class TokenGate:
    """Lets in whoever knows the token, from this machine alone."""

    def __init__(self, token: str, port: int) -> None:
        # Digests, so that the comparison takes as long for a token of any length.
        self._digest = hashlib.sha256(token.encode()).digest()
        names = ("localhost", "127.0.0.1", "[::1]")
        self._hosts = frozenset(f"{name}:{port}" for name in names) | (
            frozenset(names) if port == 80 else frozenset()
        )
        self._peer = Peer(0, os.getuid(), os.getgid(), OPERATOR)

    def peer(self, sock: socket.socket) -> Peer:
        """Take everybody for the token's owner: `admit` sees to it."""
        return self._peer

    def admit(self, peer: Peer, headers: Mapping[str, str]) -> None:
        """Let a request in.

        Raises:
            Denied: it names another host, or comes from a page of another site.
            NoToken: it has no token, or not ours.
        """
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            raise Denied(f'the host "{host[:80]}" is not served here, expected a loopback one')
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}":
            raise Denied(f'a page of "{origin[:80]}" may not call this API')
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Denied("a page of another site may not call this API")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise NoToken("no token, expected the header Authorization: Bearer TOKEN", hint=_FIX)
        digest = hashlib.sha256(token.strip().encode("latin-1")).digest()
        if not hmac.compare_digest(digest, self._digest):
            raise NoToken("the token is not the one of this stackctld", hint=_FIX)

    def require(self, peer: Peer, permission: Permission) -> None:
        """Let a request use a route.

        Raises:
            Denied: the route is not for this port.
        """
        if permission not in peer.permissions:
            raise Denied(f"the token lacks the permission {permission!r}")


def parse_address(listen: str) -> tuple[str, int]:
    """Give host and port of ``127.0.0.1:8484`` or ``[::1]:8484``.

    Raises:
        BadConfig: it is something else, or not loopback.
    """
    found = re.fullmatch(r"(?:\[([0-9a-f:]+)\]|([0-9.]+|localhost)):([0-9]{1,5})", listen)
    host = (found[1] or found[2]).replace("localhost", "127.0.0.1") if found else ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if found is None or not loopback or int(found[3]) > 65_535:
        raise BadConfig(
            f'api.listen "{listen}" is no loopback address with a port, expected for example'
            " 127.0.0.1:8484",
            hint="stackctl config check",
        )
    return host, int(found[3])


def listen(address: tuple[str, int]) -> socket.socket:
    """Give a listening socket.

    Raises:
        Failed: the address is taken.
    """
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as err:
        sock.close()
        raise Failed(
            f"listening on api.listen {host}:{port} failed: {(err.strerror or str(err)).lower()}",
            hint=f"ss -ltnp 'sport = :{port}'",
        ) from err
    return sock


def token(path: Path) -> str:
    """Give the token in a file that only its owner may read; made when it is not there.

    Raises:
        Denied: others may read or write the file, or it is no plain file of ours.
        BadConfig: it holds something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = PREFIX + secrets.token_urlsafe(32)
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags | os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path, flags)
    with os.fdopen(fd, "w") as file:
        os.fchmod(fd, 0o600)
        file.write(made + "\n")
        file.flush()
        os.fsync(fd)
    return made


def _read(path: Path, flags: int) -> str:
    try:
        fd = os.open(path, flags | os.O_RDONLY | os.O_NONBLOCK)
    except OSError as err:
        raise Denied(f"{path} cannot be read: {err.strerror}", hint=f"ls -l {path}") from err
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise Denied(f"{path} is no plain file of uid {os.getuid()}", hint=f"ls -l {path}")
        if found.st_mode & 0o077:
            raise Denied(
                f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, expected 0600",
                hint=f"chmod 600 {path}",
            )
        text = os.read(fd, _MAX_TOKEN_BYTES + 2).decode("latin-1").strip()
    finally:
        os.close(fd)
    if not _TOKEN.fullmatch(text):
        raise BadConfig(f"{path} holds no token of 16 to 512 printable characters",
                        hint=f"rm {path}")  # fmt: skip
    return text
