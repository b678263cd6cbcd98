"""A model on its way out: a folder or a tar that an import elsewhere takes.

Refuses to overwrite anything, and to leave half of it behind.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import BinaryIO, cast

from stackctl.contracts.model import ModelEntry, ModelFile
from stackctl.errors import Conflict, Invalid, ModelCorrupt
from stackctl_daemon.models.catalogue import to_toml
from stackctl_daemon.models.download import disk_error, hash_file
from stackctl_daemon.models.fetch import sync_directory
from stackctl_daemon.models.importing import ENTRY
from stackctl_daemon.models.stopping import Check, go_on
from stackctl_daemon.models.sweeping import WHOLE, export_staging

_BLOCK = 1 << 20
_PACKED = re.compile(r"(\.tar)?\.(gz|xz|bz2|zst|lz4|lzma|Z|zip|7z)$|\.(tgz|txz|tbz2?|tzst)$", re.I)


def export(entry: ModelEntry, directory: Path, target: Path, check: Check = go_on) -> int:
    """Write a model's files and its entry; give their bytes.

    Args:
        entry: of the model.
        directory: where its files lie.
        target: a folder to make, or a file to make where its name ends in ``.tar``.
        check: called for each block that is read.

    Raises:
        Conflict: the target exists.
        Invalid: it cannot be made.
        ModelCorrupt: what is here, or what was written, is not what the entry says.
        DiskFull: there is no space; nothing is left behind.
    """
    _check_suffix(entry, target)
    if os.path.lexists(target):
        raise Conflict(
            f"{target} exists, expected a name that is free",
            hint=f"ls -la {shlex.quote(str(target))}",
        )
    made = False
    try:
        with export_staging(target.parent) as staging:
            made = True
            written = staging / WHOLE
            if target.suffix == ".tar":
                _write_tar(entry, directory, written, check)
            else:
                _write_folder(entry, directory, written, check)
            _put(written, target)
    except OSError as err:
        if made:
            raise disk_error(err, target) or Invalid(f"{target}: {err}") from err
        raise Invalid(
            f"{target} cannot be made: {err.strerror}",
            hint=f"ls -lad {shlex.quote(str(target.parent))}",
        ) from err
    return sum(file.size_bytes for file in entry.files)


def _check_suffix(entry: ModelEntry, target: Path) -> None:
    packed = _PACKED.search(target.name)
    if packed:
        plain = target.with_name(target.name[: packed.start()] + ".tar")
        raise Invalid(
            f'{target} ends in "{packed[0]}", expected a folder or a plain .tar: weights hardly'
            " get smaller",
            hint=f"stackctl models export {entry.name} {shlex.quote(str(plain))}",
        )


def _write_folder(entry: ModelEntry, directory: Path, target: Path, check: Check) -> None:
    target.mkdir()
    for item in entry.files:
        with (directory / item.name).open("rb") as source, (target / item.name).open("xb") as file:
            shutil.copyfileobj(_Checked(source, check), file, _BLOCK)
            _sync(file)
    with (target / ENTRY).open("xb") as file:
        file.write(to_toml(entry).encode())
        _sync(file)
    sync_directory(target)
    for item in entry.files:
        _check(entry, item, hash_file(target / item.name, lambda _: check()))


def _write_tar(entry: ModelEntry, directory: Path, target: Path, check: Check) -> None:
    with (
        target.open("xb") as out,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        text = to_toml(entry).encode()
        tar.addfile(_member(entry, ENTRY, len(text)), io.BytesIO(text))
        for item in entry.files:
            with (directory / item.name).open("rb") as source:
                tar.addfile(
                    _member(entry, item.name, item.size_bytes),
                    cast("BinaryIO", _Checked(source, check)),  # addfile reads, and no more
                )
        tar.close()
        _sync(out)
    with tarfile.open(target, "r:") as tar:
        for item in entry.files:
            content = tar.extractfile(f"{entry.name}/{item.name}")
            digest = hashlib.sha256()
            while content and (block := content.read(_BLOCK)):
                check()
                digest.update(block)
            _check(entry, item, digest.hexdigest())


class _Checked:
    """A file whose reader may be stopped between two blocks."""

    def __init__(self, file: BinaryIO, check: Check) -> None:
        self._file = file
        self._check = check

    def read(self, size: int = -1) -> bytes:
        self._check()
        return self._file.read(size)


def _member(entry: ModelEntry, name: str, size: int) -> tarfile.TarInfo:
    """Give a member without owner and time: the same model makes the same bytes."""
    found = tarfile.TarInfo(f"{entry.name}/{name}")
    found.size, found.mode = size, 0o644
    return found


def _check(entry: ModelEntry, item: ModelFile, digest: str) -> None:
    if digest != item.sha256:
        raise ModelCorrupt(
            f'model "{entry.name}": {item.name} was written with sha256 {digest}, expected'
            f" {item.sha256}",
            hint=f"stackctl models verify {entry.name}",
        )


def _put(written: Path, target: Path) -> None:
    """Let what was written appear under its name, whole, where nothing is of that name."""
    try:
        if written.is_dir():
            target.mkdir()
        else:
            target.open("xb").close()
    except FileExistsError as err:
        raise Conflict(f"{target} was made meanwhile") from err
    try:
        written.replace(target)  # over the empty one that is ours
    except OSError:
        target.rmdir() if target.is_dir() else target.unlink()
        raise
    sync_directory(target.parent)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
