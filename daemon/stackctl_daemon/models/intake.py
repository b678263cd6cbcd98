"""Files of others on their way into the store, out of a folder or a tar.

Refuses what is not a plain file within them: links that lead out of the folder, to nowhere or
in circles, devices, pipes, holes; and a file that changes while it is copied.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from stackctl.errors import Conflict, DiskFull, Invalid
from stackctl_daemon.models.catalogue import is_file_name
from stackctl_daemon.models.download import disk_error
from stackctl_daemon.models.stopping import Check, go_on
from stackctl_daemon.models.sweeping import STAGING
from stackctl_daemon.models.tar_headers import Member

_BLOCK = 1 << 20
_HOLES_FROM_BYTES = 1 << 26
"""Size from which a file must be on disk by half at least: one with holes was never whole."""
_MAX_MEMBERS = 1000
_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip -k"),
    b"\xfd7zXZ\x00": ("xz", "unxz -k"),
    b"BZh": ("bzip2", "bunzip2 -k"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"PK\x03\x04": ("zip", "unzip"),
}
"""By their first bytes: their name, and what unpacks them beside themselves."""


def is_there(path: Path) -> bool:
    """Tell whether a folder has an entry that may be a model's file, sound or not."""
    return os.path.lexists(path) and not path.is_dir()


def check_inside(folder: Path, name: str) -> Path:
    """Give the plain file that an entry of a folder is or leads to.

    Raises:
        Invalid: it leads out of the folder, to nowhere, in circles, or is no plain file.
    """
    path = folder / name
    try:
        root, real = folder.resolve(strict=True), path.resolve(strict=True)
        kind = real.lstat().st_mode
    except FileNotFoundError as err:
        raise Invalid(f"{path} leads to nothing, expected a file", hint=_look(folder)) from err
    except (OSError, RuntimeError) as err:  # a circle is a RuntimeError until Python 3.13
        reason = "its links lead in circles" if _circles(err) else str(err)
        raise Invalid(f"{path} cannot be read: {reason}", hint=_look(folder)) from err
    if not real.is_relative_to(root):
        copied = shlex.quote(f"{folder}-copied")
        raise Invalid(
            f"{path} leads out of the folder, to {real}: expected the file itself",
            hint=f"cp -rL {shlex.quote(str(folder))} {copied}",
        )
    if not stat.S_ISREG(kind):
        raise Invalid(f"{path} is {_kind(kind)}, expected a file", hint=_look(folder))
    return real


def copy_in(folder: Path, names: Sequence[str], staging: Path, check: Check = go_on) -> None:
    """Copy files of a folder, readable by their owner alone; ``check`` is called for each block.

    Raises:
        Invalid: one is no plain file within the folder, or cannot be read.
        Conflict: one changed meanwhile.
        DiskFull: there is less space than they need.
    """
    found = [check_inside(folder, name) for name in names]
    _check_sizes(folder, found, staging)
    seen = []
    for name, real in zip(names, found, strict=True):
        try:
            seen.append(_copy(folder.resolve(), real, staging / name, check))
        except OSError as err:
            raise disk_error(err, staging) or Invalid(
                f"{folder / name} cannot be copied: {err.strerror}", hint=_look(folder)
            ) from err
    for name, real, before in zip(names, found, seen, strict=True):
        if not real.exists() or _identity(real.lstat()) != before:
            raise Conflict(
                f"{folder / name} changed while it was copied, expected a folder at rest",
                hint=_look(folder),
            )


@contextmanager
def opened(source: Path, root: Path, check: Check = go_on) -> Iterator[Path]:
    """Give the folder that a source is, or a tar of it, unpacked below ``root`` for a while.

    Raises:
        Invalid: it is a tar that is damaged, or has something else than plain files.
        DiskFull: there is no space to unpack it.
    """
    if not source.is_file() or not _is_tar(source):
        yield source
        return
    unpacked = Path(tempfile.mkdtemp(prefix=STAGING, dir=root))
    try:
        try:
            _check_holes(source)
            with tarfile.open(source, "r:", tarinfo=Member) as tar:
                _unpack(source, tar, unpacked, check)
        # RecursionError: an extension of an extension of an extension.
        except (tarfile.TarError, EOFError, ValueError, RecursionError) as err:
            raise Invalid(f"{source} is no sound tar: {err}", hint=_list(source)) from err
        except OSError as err:
            raise disk_error(err, root) or Invalid(f"{source}: {err}") from err
        yield unpacked
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _is_tar(source: Path) -> bool:
    """Tell whether a file is a tar, by its name or its first header.

    Raises:
        Invalid: it is packed, or cannot be read.
    """
    try:
        with source.open("rb") as file:
            start = file.read(tarfile.BLOCKSIZE)
    except OSError as err:
        raise Invalid(
            f"{source} cannot be read: {err.strerror}", hint=f"ls -la {shlex.quote(str(source))}"
        ) from err
    for magic, (kind, command) in _PACKED.items():
        if start.startswith(magic):
            raise Invalid(
                f"{source} is packed by {kind}, expected a folder or a plain tar",
                hint=f"{command} {shlex.quote(str(source))}",
            )
    return source.suffix == ".tar" or start[257:262] == b"ustar"


def _unpack(source: Path, tar: tarfile.TarFile, target: Path, check: Check) -> None:
    folders: set[str] = set()
    left = source.stat().st_size
    for number, member in enumerate(tar):
        path = PurePosixPath(member.name)
        parts = [part for part in path.parts if part != "."]
        if member.isdir() and len(parts) <= 1:
            continue
        if number >= _MAX_MEMBERS or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise Invalid(f"{source}: {member.name} is no plain file", hint=_list(source))
        if path.is_absolute() or not 1 <= len(parts) <= 2 or not is_file_name(parts[-1]):
            raise Invalid(
                f"{source}: {member.name} is no file of one folder, expected such as"
                f" model/entry.toml",
                hint=_list(source),
            )
        folders.add(parts[0] if len(parts) == 2 else "")
        if len(folders) > 1:
            raise Invalid(f"{source} holds more than one folder", hint=_list(source))
        if (target / parts[-1]).exists():
            raise Invalid(f"{source} holds {member.name} twice", hint=_list(source))
        left -= member.size
        if member.size < 0 or left < 0 or member.issparse():
            raise Invalid(
                f"{source} is no sound tar: {member.name} has {member.size} bytes, more than the"
                " tar has",
                hint=_list(source),
            )
        _check_free(member.size, target)
        content = tar.extractfile(member)
        if content is None:
            raise Invalid(f"{source}: {member.name} cannot be read", hint=_list(source))
        with content, open(target / parts[-1], "xb", opener=_private) as file:
            while block := content.read(_BLOCK):
                check()
                file.write(block)


def _copy(root: Path, real: Path, target: Path, check: Check) -> tuple[int, ...]:
    """Copy one file; give what it was before a byte was read."""
    # Part by part, so that no folder can become a link between the check and this.
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for part in real.relative_to(root).parts[:-1]:
        below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
        os.close(handle)
        handle = below
    try:
        source = os.open(real.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
    finally:
        os.close(handle)
    with os.fdopen(source, "rb") as reader, open(target, "xb", opener=_private) as writer:
        stat_before = os.fstat(reader.fileno())
        before, left = _identity(stat_before), stat_before.st_size
        # No more than it had: one that grows for ever would fill the disk.
        while left and (block := reader.read(min(left, _BLOCK))):
            check()
            writer.write(block)
            left -= len(block)
        writer.flush()
        os.fsync(writer.fileno())
    return before


def _check_sizes(folder: Path, found: Sequence[Path], staging: Path) -> None:
    for path in found:
        _check_holes(path)
    _check_free(sum(path.stat().st_size for path in found), staging)


def _check_holes(path: Path) -> None:
    size, on_disk = path.stat().st_size, path.stat().st_blocks * 512
    if size >= _HOLES_FROM_BYTES and on_disk < size // 2:
        raise Invalid(
            f"{path} has {size} bytes of which {on_disk} are on disk: it has holes, expected"
            " a whole file",
            hint=f"du -h --apparent-size {shlex.quote(str(path))}",
        )


def _check_free(size: int, where: Path) -> None:
    free = shutil.disk_usage(where).free
    if size > free:
        raise DiskFull(
            f"{size} bytes are to be copied, {free} are free at {where.parent}",
            hint=f"df -h {shlex.quote(str(where.parent))}",
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _circles(err: Exception) -> bool:
    return isinstance(err, RuntimeError) or "symbolic links" in str(err)


def _look(folder: Path) -> str:
    return f"ls -la {shlex.quote(str(folder))}"


def _list(tar: Path) -> str:
    return f"tar -tvf {shlex.quote(str(tar))}"
