"""What a folder with a model holds: which files are the model's, and the entry they make.

An ``entry.toml`` beside the files says what a catalogue entry would: adapter, options and the
rest. Without one, weights with a tokenizer and ``config.json`` are a sentence encoder, and a
graph by itself is asked with its own tensors. Refuses to copy, and to look into graphs.
"""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from stackctl.contracts.model import ModelEntry, ModelFile, ModelImport, ModelTask
from stackctl.errors import Invalid
from stackctl_daemon.models.catalogue import check_alias, is_file_name
from stackctl_daemon.models.download import hash_file
from stackctl_daemon.models.intake import check_inside, is_there
from stackctl_daemon.models.stopping import Check, go_on

ENTRY = "entry.toml"
TASKS: dict[str, ModelTask] = {
    "text-embedding": "embedding",
    "static-embedding": "embedding",
    "late-interaction": "rerank",
    "cross-encoder": "rerank",
    "seq2seq": "generation",
    "tensor-graph": "tensor",
    "image-classification": "image-classification",
    "image-embedding": "image-embedding",
    "file-type": "file-type",
    "ocr": "ocr",
    "clip": "image-text-embedding",
    "voice-activity": "voice-activity",
    "transcription": "transcription",
}
"""What models of an adapter do; the adapters themselves are the inference area's."""
_CONFIG, _TOKENIZER, _SAFETENSORS, _ONNX = (
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "model.onnx",
)
_MAX_ENTRY_BYTES = 1 << 20
_READ_TEXT = frozenset(("text-embedding", "late-interaction", "cross-encoder"))
"""Adapters whose window and width are those of ``config.json`` when the entry says nothing."""


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ``entry.toml``: a catalogue entry whose files are those beside it."""

    adapter: str
    task: ModelTask | None = None
    """Left out, what models of the adapter do."""
    summary: str = ""
    licence: str = ""
    architecture: str = ""
    """Left out: ``onnx`` with one graph, ``files`` with several or none."""
    dimensions: int = 0
    max_tokens: int = 0
    pooling: str = "mean"
    aliases: list[str] = []
    options: dict[str, Any] = {}
    replicas: int = 1
    max_queued: int = 0
    timeout_s: float = 0.0
    name: str = ""
    """Of the entry that it was copied from; the import names the model."""
    files: list[dict[str, Any]] = []
    """Those of the folder that are the model's, by ``name``; left out, all. With ``sha256`` they
    must be these bytes."""


def read_description(source: Path) -> Description | None:
    """Read the ``entry.toml`` of a folder; None where there is none.

    Raises:
        Invalid: it is no sound entry, or names an adapter that does not exist.
    """
    file = source / ENTRY
    if not is_there(file):
        return None
    real = check_inside(source, ENTRY)
    if real.stat().st_size > _MAX_ENTRY_BYTES:
        raise Invalid(
            f"{file} has {real.stat().st_size} bytes, expected {_MAX_ENTRY_BYTES} at most",
            hint=_edit(file),
        )
    try:
        found = msgspec.convert(tomllib.loads(real.read_text(encoding="utf-8")), Description)
    except (ValueError, OSError, RecursionError) as err:
        raise Invalid(f"{file}: {err}", hint=_edit(file)) from err
    if found.adapter not in TASKS:
        raise Invalid(
            f'{file}: adapter = "{found.adapter}", known: {", ".join(TASKS)}', hint=_edit(file)
        )
    return found


def names_of(source: Path, model: str, description: Description | None) -> list[str]:
    """Give the names of a model's files in its folder.

    Raises:
        Invalid: files are missing, or there are none.
    """
    if description is not None:
        return _described(source, description)
    if is_there(source / _SAFETENSORS):
        return _whole(source, [_SAFETENSORS, _TOKENIZER, _CONFIG], model)
    graphs = sorted(path.name for path in source.glob("*.onnx") if is_there(path))
    if _ONNX in graphs:
        graphs = [_ONNX]
    if not graphs:
        raise Invalid(
            f"{source} has neither {_SAFETENSORS} nor {_ONNX}, expected one of them, and beside"
            f" it {_TOKENIZER} and {_CONFIG} for a model of texts",
            hint=_look(source, model),
        )
    if len(graphs) > 1:
        raise Invalid(
            f"{source} has {len(graphs)} graphs, {', '.join(graphs)}: expected an {ENTRY} beside"
            " them, with the adapter that knows which is which",
            hint=_edit(source / ENTRY),
        )
    names = graphs + sorted(path.name for path in source.glob(f"{graphs[0]}?data"))
    if is_there(source / _TOKENIZER):
        return _whole(source, [*names, _TOKENIZER, _CONFIG], model)
    return [*names, _CONFIG] if is_there(source / _CONFIG) else names


def own_aliases(aliases: Sequence[str], model: str, claimed: Mapping[str, str]) -> list[str]:
    """Give those aliases that no other model has; versions share theirs.

    Args:
        aliases: of a description.
        model: the name of the model that is imported.
        claimed: models by the names and aliases, in small letters, that are theirs.

    Raises:
        Invalid: one cannot be an alias.
    """
    family = model.partition(":")[0]
    owners = [(alias, claimed.get(check_alias(alias).lower(), family)) for alias in aliases]
    return [alias for alias, owner in owners if owner.partition(":")[0] == family]


def make_entry(
    request: ModelImport,
    directory: Path,
    names: list[str],
    description: Description | None,
    check: Check = go_on,
) -> ModelEntry:
    """Give the entry of files that lie in a directory.

    Raises:
        Invalid: ``config.json`` or the description does not say what is needed.
    """
    described = description or Description(
        adapter="text-embedding" if _TOKENIZER in names else "tensor-graph"
    )
    dimensions, max_tokens = described.dimensions, described.max_tokens
    if described.adapter in _READ_TEXT and not (dimensions and max_tokens):
        width, window = _sizes(request, directory)
        dimensions, max_tokens = dimensions or width, max_tokens or window
    known = {str(item.get("name", "")): item for item in described.files}
    fields: dict[str, Any] = {
        "name": request.name,
        "task": described.task or TASKS[described.adapter],
        "summary": described.summary or f"imported from {request.path}",
        "licence": described.licence
        if described.licence and request.licence == "unknown"
        else request.licence,
        "architecture": described.architecture or _architecture(names),
        "adapter": described.adapter,
        "dimensions": dimensions,
        "max_tokens": max_tokens,
        "pooling": described.pooling,
        "aliases": described.aliases,
        "options": described.options,
        "replicas": described.replicas,
        "max_queued": described.max_queued,
        "timeout_s": described.timeout_s,
        "files": [
            ModelFile(
                name=name,
                sha256=hash_file(directory / name, lambda _: check()),
                size_bytes=(directory / name).stat().st_size,
                sources=_sources(request, name, known.get(name, {})),
            )
            for name in names
        ],
    }
    _check_bytes(request, fields["files"], known)
    try:
        return msgspec.convert(fields, ModelEntry)
    except msgspec.ValidationError as err:
        file = Path(request.path) / ENTRY
        raise Invalid(f"{file}: {err}", hint=_edit(file)) from err


def _sources(request: ModelImport, name: str, told: Mapping[str, Any]) -> list[str]:
    """Give where a file can be had again: the folder it came from, and what its entry says."""
    source, others = Path(request.path).resolve(), told.get("sources", [])
    here = [] if source.is_file() else [f"file:{source / name}"]
    others = others if isinstance(others, list) else []
    return here + [text for text in others if isinstance(text, str) and text not in here]


def _check_bytes(
    request: ModelImport, files: list[ModelFile], known: Mapping[str, Mapping[str, Any]]
) -> None:
    for file in files:
        wanted = known.get(file.name, {}).get("sha256", file.sha256)
        if wanted != file.sha256:
            raise Invalid(
                f"{request.path}: {file.name} has sha256 {file.sha256}, its {ENTRY} says {wanted}",
                hint=f"ls -la {shlex.quote(request.path)}",
            )


def _described(source: Path, description: Description) -> list[str]:
    wanted = [str(item.get("name", "")) for item in description.files]
    there = sorted(
        path.name
        for path in source.iterdir()
        if is_there(path) and path.name != ENTRY and is_file_name(path.name)
    )
    missing = [name for name in wanted if name not in there]
    if missing or not there:
        raise Invalid(
            f"{source} has no {missing[0] if missing else 'file'} beside its {ENTRY}",
            hint=f"ls -la {shlex.quote(str(source))}",
        )
    return wanted or there


def _architecture(names: list[str]) -> str:
    if _SAFETENSORS in names:
        return "bert-safetensors"
    return "onnx" if sum(name.endswith(".onnx") for name in names) == 1 else "files"


def _whole(source: Path, names: list[str], model: str) -> list[str]:
    missing = [name for name in names if not is_there(source / name)]
    if missing:
        raise Invalid(
            f"{source} has no {' and no '.join(missing)}, expected it beside {names[0]}",
            hint=_look(source, model),
        )
    return names


def _look(source: Path, model: str) -> str:
    """Give the import of the first folder below that has a whole model, or a look at what is."""
    if not source.is_dir():
        return f"ls -la {shlex.quote(str(source.parent))}"
    found = (*source.glob(f"*/{ENTRY}"), *source.glob("*/model.safetensors"))
    for weights in sorted((*found, *source.glob("*/model.onnx"))):
        folder = weights.parent
        beside = all((folder / name).is_file() for name in (_TOKENIZER, _CONFIG))
        if beside or weights.suffix != ".safetensors":
            return f"stackctl models import {model} {shlex.quote(str(folder))}"
    return f"ls -la {shlex.quote(str(source))}"


def _edit(file: Path) -> str:
    return f"${{EDITOR:-vi}} {shlex.quote(str(file))}"


def _sizes(request: ModelImport, directory: Path) -> tuple[int, int]:
    """Give width and window of a text encoder by its ``config.json``."""
    try:
        config: dict[str, Any] = json.loads((directory / _CONFIG).read_text("utf-8"))
        return int(config["hidden_size"]), min(int(config["max_position_embeddings"]), 512)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise Invalid(
            f"{request.path}/config.json needs hidden_size and max_position_embeddings: {err!r}",
            hint=f"cat {shlex.quote(f'{request.path}/config.json')}",
        ) from err
