"""The names and sources of all collections in a small file beside the store.

They are what a user typed, and nothing else on the disk tells them: a store that is damaged is
made again from the files that its sources name. Refuses to be the truth while the store is sound.

A collection is added here after the store has it and taken out before the store drops it.
So all that is here is in the store too, unless the store has lost it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from stackctl.errors import DiskFull

Sources = dict[bytes, bool]
"""Paths, and whether each is watched."""
Listed = dict[str, Sources]
"""Collections by name."""

VERSION = 1


class Roster:
    """The file; each change is on disk when its call returns."""

    def __init__(self, store: Path) -> None:
        self.file = store.with_suffix(".collections.json")

    def read(self) -> Listed | None:
        """Give the collections; None when the file is missing or cannot be understood."""
        try:
            found = json.loads(self.file.read_bytes())
            if found["version"] != VERSION:
                return None
            return {
                str(name): {os.fsencode(path): bool(on) for path, on in sources.items()}
                for name, sources in found["collections"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # A file that is no roster is as good as none: the store alone is asked then.
            return None

    def add(self, name: str, sources: Iterable[tuple[bytes, bool]]) -> None:
        """Note a collection and its sources beside those already noted."""
        listed = self.read() or {}
        self.write({**listed, name: listed.get(name, {}) | dict(sources)})

    def forget(self, name: str) -> None:
        """Note that a collection is to be dropped."""
        listed = self.read() or {}
        if listed.pop(name, None) is not None:
            self.write(listed)

    def write(self, listed: Listed) -> None:
        """Put a new list in the place of the old one, whole or not at all.

        Raises:
            DiskFull: the file cannot be written; the old one stays.
        """
        if listed == self.read():
            return
        names = {
            name: {os.fsdecode(path): on for path, on in sorted(sources.items())}
            for name, sources in sorted(listed.items())
        }
        # ASCII: a path that is not UTF-8 comes back byte for byte through its escapes.
        text = json.dumps({"version": VERSION, "collections": names}, indent=1)
        new = self.file.with_name(f"{self.file.name}.new")
        try:
            with new.open("wb") as file:
                file.write(text.encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.file)
            folder = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as err:
            raise DiskFull(
                f"writing {self.file} failed: {err.strerror}", hint=f"df -h {self.file.parent}"
            ) from err


def missing(noted: Listed, found: Listed) -> Listed:
    """Give the collections and sources that are noted and were not found."""
    gaps = {
        name: {path: on for path, on in sources.items() if path not in found.get(name, {})}
        for name, sources in noted.items()
    }
    return {name: lost for name, lost in gaps.items() if lost or name not in found}
