"""What models give to others; refuses to name who takes it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

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
