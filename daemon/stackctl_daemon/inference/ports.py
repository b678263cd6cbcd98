"""What inference needs of others, and what it gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from stackctl.contracts.device import Device
from stackctl.contracts.model import ModelEntry
from stackctl_daemon.proc import Room

__all__ = ["Meter", "ModelStore", "ReadyModel", "Room"]


class ReadyModel(Protocol):
    """A model whose files are on disk and verified."""

    @property
    def entry(self) -> ModelEntry:
        """Its catalogue entry."""
        ...

    @property
    def directory(self) -> Path:
        """Where its files lie."""
        ...

    @property
    def graph(self) -> Path | None:
        """ONNX graph, its external data beside it; None where the adapter opens the files."""
        ...

    @property
    def tokenizer(self) -> Path | None:
        """``tokenizer.json``; None where there is none."""
        ...


class ModelStore(Protocol):
    """Gives verified model files."""

    async def ready(self, name: str) -> ReadyModel:
        """Give a model by name or alias, or ``default``.

        Raises:
            NotFound: no such model, or its files are not here (hint: ``stackctl models pull``).
            ModelCorrupt: a file's bytes are wrong.
        """
        ...


class Meter(Protocol):
    """Measures memory; called in a thread, for a driver may hang."""

    def room(self, device: Device, pid: int | None) -> Room:
        """Give the memory of a device as it is now.

        Args:
            device: which.
            pid: its worker's process; None: there is none.

        Raises:
            Failed: the device does not answer: it is lost.
        """
        ...
