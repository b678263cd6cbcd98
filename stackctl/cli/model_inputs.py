"""What a model is given on the command line: texts, files, stdin, tensors and options.

Refuses to look into files: what is in them is the model's business.
"""

from __future__ import annotations

import base64
import json
import math
import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from stackctl.cli import npy
from stackctl.cli.files import absolute
from stackctl.errors import Invalid, TooLarge

TEXTS = frozenset(("embedding", "rerank", "generation"))
"""Tasks whose inputs are texts."""
BYTES = {
    "image-embedding": "a picture",
    "image-classification": "a picture",
    "ocr": "a picture",
    "file-type": "any file",
    "voice-activity": "a sound",
    "transcription": "a sound",
}
"""Tasks whose inputs are bytes, with what these are of."""
BY_LINE = frozenset(("embedding", "rerank"))
"""Tasks for which every line of stdin is an input."""
MOST_BYTES = 64 << 20
"""Of a request: in base64 it must fit under the daemon's cap of 96 MiB."""
MOST_INPUTS = 2048
STDIN = "-"
Graph = Callable[[], Sequence[Any]]
"""Gives ``name``, ``datatype`` and ``shape`` of each input."""
_DTYPES = {
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "BOOL": "|b1",
}
_MOST_TYPED = 16
"""Numbers that an example types out."""


@dataclass(frozen=True)
class Given:
    """One input."""

    label: str
    """What people call it: the text itself, a path, or ``stdin``."""
    wire: dict[str, Any]
    """As `RunInput`."""


def read_inputs(
    words: Sequence[str],
    *,
    task: str,
    model: str,
    stdin: BinaryIO | None = None,
    graph: Graph = tuple,
) -> list[Given]:
    """Read what a model of a task is asked with.

    Args:
        words: texts, paths, ``@path`` and ``-``; none: stdin, unless that is a terminal.
        task: of the model.
        model: its name, for the words of errors.
        stdin: where ``-`` reads.
        graph: gives the tensors of a graph, for the types of numbers that are typed.

    Raises:
        Invalid: there is nothing, or something that the model does not read.
        NotFound: a file is not there.
        TooLarge: it is more than a request holds.
    """
    source = stdin or sys.stdin.buffer
    if not words and not source.isatty():
        words = [STDIN]
    if not words:
        fix = tensor_example(model, graph()) if task == "tensor" else example(task, model)
        raise Invalid(f'model "{model}" was given nothing', hint=fix)
    if words.count(STDIN) > 1:
        raise Invalid('"-" stands for stdin, which can be read once', hint=example(task, model))
    found = (
        [_tensors(words, model, graph)]
        if task == "tensor"
        else [given for word in words for given in _read(word, task, model, source)]
    )
    if len(found) > MOST_INPUTS:
        raise TooLarge(
            f"{len(found)} inputs, a request holds {MOST_INPUTS}",
            hint=f"head -n {MOST_INPUTS} FILE | stackctl models run {model} -",
        )
    return found


def example(task: str, model: str) -> str:
    """Give a command that runs a model of a task."""
    words = {
        "embedding": "'a text' 'another text'",
        "rerank": "--query 'a question' 'a text' 'another text'",
        "generation": "'a text'",
        "image-text-embedding": "'a text' PICTURE",
        "tensor": "NAME=FILE.npy",
        "file-type": "FILE",
    }
    what = BYTES.get(task, "").removeprefix("a ").upper()
    return f"stackctl models run {model} {words.get(task, what or 'INPUT')}"


def tensor_example(model: str, inputs: Sequence[Any]) -> str:
    """Give a command that runs a graph, where its tensors are small enough to type out."""
    words = []
    for tensor in inputs:
        shape = [size if size > 0 else 1 for size in tensor.shape]
        if tensor.datatype not in _DTYPES or math.prod(shape) > _MOST_TYPED:
            return "stackctl models run --help"
        value: Any = False if tensor.datatype == "BOOL" else 0
        for size in reversed(shape):
            value = [value] * size
        words.append(shlex.quote(f"{tensor.name}={json.dumps(value)}"))
    return f"stackctl models run {model} {' '.join(words)}" if words else example("tensor", model)


def read_options(pairs: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value``: numbers, true, false, lists and quoted texts as in JSON, else texts.

    Raises:
        Invalid: one has no ``=``, or a key comes twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise Invalid(f'option "{pair}" is no key=value', hint="stackctl models run --help")
        if key in found:
            raise Invalid(f'option "{key}" is given twice', hint="stackctl models run --help")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def read_file(path: str, model: str) -> bytes:
    """Read a file that goes into a request.

    Raises:
        NotFound: it is not there.
        Invalid: it is a folder.
        TooLarge: a request does not hold it.
    """
    [full] = absolute([path])
    found = Path(full).stat()
    shown = shlex.quote(path)
    if stat.S_ISDIR(found.st_mode):
        raise Invalid(
            f'"{path}" is a folder, expected a file',
            hint=f"stackctl models run {model} {shown.rstrip('/')}/*",
        )
    if found.st_size > MOST_BYTES:
        raise TooLarge(
            f'"{path}" has {found.st_size} bytes, a request holds {MOST_BYTES}',
            hint=f"head -c {MOST_BYTES} {shown} | stackctl models run {model} -",
        )
    return Path(full).read_bytes()


def of_bytes(label: str, data: bytes) -> Given:
    """Give an input of bytes."""
    return Given(label, {"data": base64.b64encode(data).decode("ascii")})


def _read(word: str, task: str, model: str, stdin: BinaryIO) -> list[Given]:
    if word == STDIN:
        return _stdin(task, model, stdin)
    if task in BYTES:
        path = word.removeprefix("@")
        return [of_bytes(path, read_file(path, model))]
    if word.startswith("@@"):
        return [Given(word[1:], {"text": word[1:]})]
    if word.startswith("@"):
        data = read_file(word[1:], model)
        if task == "image-text-embedding":
            return [of_bytes(word[1:], data)]
        return [Given(word[1:], {"text": _text(data, word[1:])})]
    if task == "image-text-embedding" and os.path.isfile(word):  # noqa: PTH113 - a word, maybe no path
        return [of_bytes(word, read_file(word, model))]
    return [Given(word, {"text": word})]


def _stdin(task: str, model: str, stdin: BinaryIO) -> list[Given]:
    data = stdin.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise TooLarge(f"stdin has more than {MOST_BYTES} bytes, which is what a request holds")
    if not data.strip():
        raise Invalid("stdin is empty", hint=example(task, model))
    if task in BYTES:
        return [of_bytes("stdin", data)]
    text = _text(data, "stdin")
    if task in BY_LINE:
        return [Given(line, {"text": line}) for line in text.splitlines() if line.strip()]
    return [Given("stdin", {"text": text})]


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as err:
        raise Invalid(
            f"{what} is not UTF-8: byte {data[err.start]:#04x} at {err.start}, and the model"
            " reads text",
            hint="stackctl models list",
        ) from err


def _tensors(words: Sequence[str], model: str, graph: Graph) -> Given:
    """Read ``NAME=FILE.npy`` and ``NAME=JSON``: together they are one input."""
    types: dict[str, str] | None = None
    tensors: list[dict[str, Any]] = []
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise Invalid(
                f'"{word}" is no tensor: expected NAME=FILE.npy or NAME=[[1.0, 2.0]]',
                hint=tensor_example(model, graph()),
            )
        name, _, dtype = name.partition(":")
        if value.lstrip("-")[:1].isdigit() or value[:1] == "[":
            if not dtype and types is None:
                types = {one.name: _DTYPES.get(one.datatype, "") for one in graph()}
            array = _literal(name, value, dtype or (types or {}).get(name, ""))
        else:
            path = value.removeprefix("@")
            array = npy.read(read_file(path, model), f'"{path}"')
        tensors.append(
            {
                "name": name,
                "dtype": array.dtype,
                "shape": array.shape,
                "data": base64.b64encode(array.data).decode("ascii"),
            }
        )
    return Given(", ".join(tensor["name"] for tensor in tensors), {"tensors": tensors})


def _literal(name: str, value: str, dtype: str) -> npy.Array:
    """Read a tensor that was typed; of no known type, as `npy.literal` takes it."""
    try:
        return npy.literal(json.loads(value), dtype)
    except ValueError as err:
        raise Invalid(
            f'tensor "{name}" is {value!r}: {err}', hint="stackctl models run --help"
        ) from err
