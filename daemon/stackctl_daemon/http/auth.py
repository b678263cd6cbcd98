"""Who calls, and what they may: peer credentials of the socket; refuses to trust any header.

Source: SO_PEERCRED and SO_PEERGROUPS in unix(7).
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from stackctl.errors import BadConfig, Denied
from stackctl_daemon.http.registry import Permission

ALL: frozenset[Permission] = frozenset(("read", "operate", "admin"))
OPERATOR: frozenset[Permission] = frozenset(("read", "operate"))
NOTHING: frozenset[Permission] = frozenset()
_UCRED = struct.Struct("3i")
_SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13; the socket module does not name it
_MAX_OPTION_BYTES = 1024  # what the socket module passes through


@dataclass(frozen=True, slots=True)
class Peer:
    """A connected process, as the kernel saw it when it connected."""

    pid: int
    uid: int
    gid: int
    permissions: frozenset[Permission]


class Gate(Protocol):
    """Who may come in on a listener."""

    def peer(self, sock: socket.socket) -> Peer:
        """Read who a connection is of."""
        ...

    def admit(self, peer: Peer, headers: Mapping[str, str]) -> None:
        """Let a request in, by its peer and its header, or raise `Denied`."""

    def require(self, peer: Peer, permission: Permission) -> None:
        """Let a peer use a route, or raise `Denied`."""


class Access:
    """Maps peers to permissions: the owner and root have all, an operator group some."""

    def __init__(self, operator_group: str = "", *, owner_uid: int | None = None) -> None:
        self.owner_uid = os.getuid() if owner_uid is None else owner_uid
        self.operator_gid = group_id(operator_group)

    def peer(self, sock: socket.socket) -> Peer:
        """Read a connection's credentials."""
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, gid = _UCRED.unpack(raw)
        groups = _groups(sock, uid, gid) if self.operator_gid is not None else ()
        return Peer(pid, uid, gid, self.permissions(uid, (gid, *groups)))

    def admit(self, peer: Peer, headers: Mapping[str, str]) -> None:
        """Let a peer in by who it is, whatever the header says.

        Raises:
            Denied: it may nothing here.
        """
        if not peer.permissions:
            self.require(peer, "read")

    def permissions(self, uid: int, groups: Collection[int]) -> frozenset[Permission]:
        """Give what a user in these groups may do."""
        if uid in (0, self.owner_uid):
            return ALL
        return OPERATOR if self.operator_gid in groups else NOTHING

    def require(self, peer: Peer, permission: Permission) -> None:
        """Let a peer pass.

        Raises:
            Denied: it lacks the permission.
        """
        if permission not in peer.permissions:
            raise Denied(
                f"uid {peer.uid} lacks the permission {permission!r} of the stackctld"
                f" owned by uid {self.owner_uid}",
                hint="stackctl config show",
            )


def _groups(sock: socket.socket, uid: int, gid: int) -> tuple[int, ...]:
    """Give a peer's supplementary groups, those that the kernel let it open the socket with.

    The group database is asked only for a peer in more groups than ``getsockopt`` can give us:
    it may be a server on the network, and we are on the loop.
    """
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_OPTION_BYTES)
        return struct.unpack(f"{len(raw) // 4}I", raw)
    except OSError:
        try:
            return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
        except KeyError:
            return ()


def group_id(name: str) -> int | None:
    """Give a group's id; None for no name.

    Raises:
        BadConfig: there is no such group.
    """
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as err:
        raise BadConfig(
            f'daemon.operator_group "{name}" is not a group of this machine',
            hint="getent group",
        ) from err
