"""A small JSON file of the inference area, replaced as a whole; refuses to hold much.

What is in it can be lost without harm but an alias, so a file that is damaged is said and put
aside, never a reason not to start.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")
log = logging.getLogger(__name__)


class StateFile(Generic[T]):
    """A dictionary on disk; without a path in memory alone."""

    def __init__(self, path: Path | None, kind: type[T]) -> None:
        self._path = path
        self._kind = kind
        self._writing = threading.Lock()

    def read(self) -> dict[str, T]:
        """Give what is there; empty where there is nothing, or it is damaged."""
        if self._path is None or not self._path.exists():
            return {}
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, self._kind])  # type: ignore[name-defined]  # a type that is known at run time
        except msgspec.DecodeError as err:
            aside = self._path.with_suffix(".damaged")
            log.warning("state_damaged file=%s kept_as=%s error=%s", self._path, aside, err)
            self._path.replace(aside)
            return {}

    def write(self, values: dict[str, T]) -> None:
        """Replace the file: after a crash it is the old or the new one, whole.

        From any thread; of several at once, the last to come writes what the values are then.

        Raises:
            OSError: the disk does not take it; the old file stays.
        """
        if self._path is None:
            return
        with self._writing:
            self._replace(self._path, msgspec.json.encode(values, order="sorted"))

    @staticmethod
    def _replace(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(msgspec.json.format(data))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # else a power cut may bring the old name back
        finally:
            os.close(folder)
