"""Headers of a tar before `tarfile` reads what follows them.

Refuses what a header makes a reader hold in memory or write beyond what the tar has: extensions
of any length, and files with holes.

Source: POSIX.1-2024, pax interchange format; GNU tar's manual, "Basic Tar Format" and "Storing
Sparse Files".
"""

from __future__ import annotations

import tarfile
from typing import Any

_MAX_EXTENSION_BYTES = 1 << 16
_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENSIONS = (*_PAX, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_SPARSE = b"GNU.sparse."


class Member(tarfile.TarInfo):
    """A member whose headers were looked at first; given to `tarfile.open` as ``tarinfo``."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Any:  # its own type, which has no name
        """Read the next member.

        Raises:
            tarfile.ReadError: a header is one that is refused.
        """
        _look(tarfile)
        return super().fromtarfile(tarfile)


def _look(tar: tarfile.TarFile) -> None:
    """Look at the next header, and at what an extension says, and go back before it."""
    stream: Any = tar.fileobj  # Any: what tarfile reads from
    begin = stream.tell()
    block = stream.read(tarfile.BLOCKSIZE)
    try:
        found = tarfile.TarInfo.frombuf(block, tar.encoding or "utf-8", tar.errors or "strict")
    except tarfile.HeaderError:
        return  # the end, or damage that tarfile words
    finally:
        stream.seek(begin)
    kind = found.type
    if found.size < 0:
        raise tarfile.ReadError(f"a member has {found.size} bytes")
    if kind == tarfile.GNUTYPE_SPARSE:
        raise tarfile.ReadError(f"{found.name} has holes, expected whole files")
    if kind not in _EXTENSIONS:
        return
    if found.size > _MAX_EXTENSION_BYTES:
        raise tarfile.ReadError(
            f"an extension header of {found.size} bytes, expected {_MAX_EXTENSION_BYTES} at most"
        )
    if kind in _PAX:
        stream.seek(begin + tarfile.BLOCKSIZE)
        told = stream.read(found.size)
        stream.seek(begin)
        if _SPARSE in told:
            raise tarfile.ReadError("a member has holes, expected whole files")
