"""Models: the catalogue and what is on this disk."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

ModelTask = Literal[
    "embedding",
    "rerank",
    "generation",
    "image-embedding",
    "image-text-embedding",
    "image-classification",
    "ocr",
    "file-type",
    "voice-activity",
    "transcription",
    "tensor",
]
"""What a model does; ``tensor``: a graph whose tensors are asked for as they are."""
ModelState = Literal["absent", "present", "corrupt"]
RESERVED_NAMES = frozenset({"default", "aliases", "running", "import", "stats"})
"""No names of models: they mean something else where a path or a command has a model's name."""


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a model and everywhere it can be had."""

    name: str
    sha256: str
    size_bytes: int
    sources: list[str]
    """``file:PATH``, ``pypi:PACKAGE==VERSION#path/in/wheel``, ``hf:OWNER/NAME@REV#path`` or
    ``https:URL``; tried in this order."""


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A catalogue entry, one TOML file in ``config/models``."""

    name: str
    task: ModelTask
    summary: str
    licence: str
    architecture: Literal[
        "bert-safetensors", "bert-safetensors-int8", "whisper-ctranslate2", "onnx", "files"
    ]
    """How the graph comes about: built over the safetensors (as they are, or in int8) or over
    CTranslate2's ``model.bin``, the ``.onnx`` file, or not at all: the adapter opens the files
    itself."""
    files: list[ModelFile]
    adapter: str = "text-embedding"
    """How inputs become tensors and tensors results: a name of ``inference.adapters``."""
    dimensions: int = 0
    """Of its vectors; 0: it gives none."""
    max_tokens: int = 0
    """Its window; 0: it reads no text."""
    pooling: Literal["mean"] = "mean"
    aliases: list[str] = []
    options: dict[str, Any] = {}
    """The adapter's own."""
    replicas: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Batches of it that a device computes at once, unless a load says otherwise."""
    max_queued: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Inputs of it that may wait or be computed at once; 0: as many as of all models."""
    timeout_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Of a request that sets none; 0: the route's."""

    @property
    def family(self) -> str:
        """Its name without the version: ``NAME`` of ``NAME:VERSION``."""
        return self.name.partition(":")[0]

    @property
    def version(self) -> str:
        """The version that its name tells; empty: none."""
        return self.name.partition(":")[2]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A catalogue entry beside what is on this disk."""

    name: str
    task: ModelTask | Literal["unknown"]
    """``unknown``: of an imported model whose entry cannot be read."""
    summary: str
    licence: str
    dimensions: int
    max_tokens: int
    size_bytes: int
    state: ModelState
    path: str = ""
    imported: bool = False
    loaded_on: list[str] = []
    """Ids of the devices that hold it now."""
    aliases: list[str] = []
    """Other names of it, those of the catalogue and those that were given here."""
    problem: str = ""
    """Why nothing is known of it but its name; empty: all is."""


class ImportedModel(Model, frozen=True, kw_only=True):
    """A model that was taken."""

    aliases_taken: list[str] = []
    """Aliases of its ``entry.toml`` that mean something else here: it was not given these."""


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """Models, by name."""

    items: list[Model]


class ModelVerification(msgspec.Struct, frozen=True, kw_only=True):
    """Result of reading every byte of a model."""

    name: str
    ok: bool
    problems: list[str]


class ModelImport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take a model from a directory, or from a tar that an export wrote.

    It holds ``model.safetensors`` with ``tokenizer.json`` and ``config.json``, or an ONNX graph
    with or without these; an ``entry.toml`` beside them says which adapter reads it, and how.
    """

    name: str
    path: str
    licence: str = "unknown"


class ModelExport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Write a model where an import elsewhere finds it."""

    path: str
    """A folder to make, or a file to make where it ends in ``.tar``; nothing is overwritten."""


class ExportedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    name: str
    path: str
    files: int
    size_bytes: int
