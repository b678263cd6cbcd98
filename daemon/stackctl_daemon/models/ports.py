"""What models give to others; refuses to name who takes it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from stackctl.contracts.model import ModelEntry


class ReadyModel(NamedTuple):
    """A model whose files are on disk and verified."""

    entry: ModelEntry
    directory: Path
    """Where its files lie."""
    graph: Path | None
    """ONNX graph, its external data beside it; None where the adapter opens the files."""
    tokenizer: Path | None
    """``tokenizer.json``; None where there is none."""


class Aliases(Protocol):
    """Names that users gave to models."""

    def resolve(self, name: str) -> str:
        """Give the model that a name means now; the name itself when it is no alias."""
        ...

    def of(self, model: str) -> list[str]:
        """Give the aliases of a model."""
        ...

    def all(self) -> dict[str, str]:
        """Give models by alias."""
        ...


class Users(Protocol):
    """Those who may use a model that is to go."""

    def leaving(self, name: str) -> AbstractAsyncContextManager[None]:
        """Within it a model is on no device, and new requests for it are refused.

        Raises:
            Conflict: requests that came before use it for too long.
        """
        ...

    async def forget(self, name: str, *, known: bool) -> None:
        """Drop what is kept of a model whose files are gone.

        Args:
            name: its name.
            known: it is in the catalogue, and may come back with the same files.
        """
        ...
