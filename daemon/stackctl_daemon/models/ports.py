"""What models give to others; refuses to name who takes it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stackctl.contracts.model import ModelEntry


class ReadyModel(NamedTuple):
    """A model whose files are on disk and verified."""

    entry: ModelEntry
    graph: Path
    """ONNX graph; its external data lies beside it."""
    tokenizer: Path
    """``tokenizer.json``."""
