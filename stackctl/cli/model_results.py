"""What models gave, as values, plain rows and files; refuses to lay it out for people."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackctl.cli import npy
from stackctl.client.view import encode, mapping
from stackctl.errors import Invalid

if TYPE_CHECKING:
    from stackctl.contracts.inference import RunReply

VECTORS = frozenset(("embedding", "image-embedding", "image-text-embedding"))
"""Tasks that give one vector an input."""


@dataclass(frozen=True)
class Answer:
    """What one input gave."""

    label: str
    """What people call the input."""
    value: Any
    """As the model's adapter describes it; None where there is none."""
    tensors: dict[str, npy.Array]

    @property
    def vector(self) -> list[float]:
        """Its numbers, where it is a vector."""
        [array] = self.tensors.values()
        return npy.numbers(array)


def answers(reply: RunReply, labels: Sequence[str]) -> list[Answer]:
    """Give the results beside what people call the inputs."""
    return [
        Answer(
            label,
            item.value,
            {
                t.name: npy.Array(t.dtype, list(t.shape), base64.b64decode(t.data))
                for t in item.tensors
            },
        )
        for label, item in zip(labels, reply.items, strict=True)
    ]


def ranked(found: Sequence[Answer]) -> list[tuple[int, Answer]]:
    """Give documents with their numbers, the best first."""
    return sorted(enumerate(found), key=lambda pair: -pair[1].value.score)


def as_json(reply: RunReply, found: Sequence[Answer]) -> dict[str, Any]:
    """Give a reply as an object whose vectors and tensors are lists of numbers."""
    places = (
        {number: rank for rank, (number, _) in enumerate(ranked(found), 1)}
        if (reply.task == "rerank")
        else {}
    )
    items = []
    for number, answer in enumerate(found):
        item: dict[str, Any] = {"input": answer.label}
        if number in places:
            item["rank"] = places[number]
        if answer.value is not None:
            item["value"] = answer.value
        if reply.task in VECTORS:
            item["vector"] = answer.vector
        elif answer.tensors:
            item["tensors"] = {name: _tensor(array) for name, array in answer.tensors.items()}
        items.append(item)
    return {**mapping(reply), "items": items}


def rows(task: str, found: Sequence[Answer]) -> Iterator[list[Any]]:
    """Give what programs read a line at a time; the cells are as the guide lists them."""
    if task == "rerank":
        for rank, (number, answer) in enumerate(ranked(found), 1):
            yield [rank, answer.value.score, number, answer.label]
        return
    for answer in found:
        value = answer.value
        if task in VECTORS:
            yield answer.vector
        elif task == "generation":
            yield [value.text]
        elif task == "ocr":
            yield from ([answer.label, li.score, *li.box[0], li.text] for li in value.lines)
        elif task == "voice-activity":
            yield from ([answer.label, s.start_s, s.end_s] for s in value.segments)
        elif task == "transcription":
            yield from ([answer.label, s.start_s, s.end_s, s.text] for s in value.segments)
        elif task == "file-type":
            yield [answer.label, value.label, value.score, value.mime, value.group]
        elif task == "image-classification":
            yield from ([answer.label, one.label, one.score] for one in value.labels)
        else:
            for name, array in answer.tensors.items():
                shape = ",".join(map(str, array.shape))
                yield [answer.label, name, array.dtype, shape, *npy.numbers(array)]


def bare(task: str, found: Sequence[Answer]) -> Iterator[str]:
    """Give the answers alone: texts, labels, numbers of a vector, the best document first."""
    if task == "rerank":
        yield from (answer.label for _, answer in ranked(found))
        return
    for answer in found:
        if task in ("generation", "ocr", "transcription"):
            yield answer.value.text
        elif task in ("file-type", "image-classification"):
            yield answer.value.label
        elif task == "voice-activity":
            yield from (f"{s.start_s} {s.end_s}" for s in answer.value.segments)
        else:
            for array in answer.tensors.values():
                yield " ".join(map(repr, npy.numbers(array)))


def save(path: str, reply: RunReply, found: Sequence[Answer]) -> str:
    """Write results to a file, and say what was written.

    ``.npy``: the one tensor of every input, stacked. ``.json``: what ``--json`` prints.

    Raises:
        Invalid: the name ends in neither, or the results are no array.
    """
    if path.endswith(".json"):
        Path(path).write_text(encode(as_json(reply, found), indent=2) + "\n", encoding="utf-8")
        return f"wrote {len(found)} result{'s' if len(found) != 1 else ''} to {path}"
    arrays = [array for answer in found for array in answer.tensors.values()]
    kinds = {(array.dtype, tuple(array.shape)) for array in arrays}
    if len(arrays) != len(found) or len(kinds) != 1:
        raise Invalid(
            f'model "{reply.model}" gave no array of one shape for each input, which a .npy holds',
            hint=f"stackctl models run {reply.model} INPUT --output results.json",
        )
    [(dtype, shape)] = kinds
    whole = npy.Array(dtype, [len(arrays), *shape], b"".join(array.data for array in arrays))
    Path(path).write_bytes(npy.write(whole))
    return f"wrote {' x '.join(map(str, whole.shape))} {dtype} to {path}"


def check_output(path: str, model: str) -> None:
    """Refuse a file name before anything is computed.

    Raises:
        Invalid: it ends in neither ``.npy`` nor ``.json``, or its folder is not there.
    """
    if path and not path.endswith((".npy", ".json")):
        raise Invalid(
            f'"{path}" ends in neither .npy nor .json',
            hint=f"stackctl models run {model} INPUT --output results.npy",
        )
    if path and not Path(path).absolute().parent.is_dir():
        folder = Path(path).absolute().parent
        raise Invalid(
            f'"{path}" is to be written into {folder}, which is no folder',
            hint=f"mkdir -p {folder}",
        )


def _tensor(array: npy.Array) -> dict[str, Any]:
    # JSON has no word for what is not finite.
    finite = [
        None if isinstance(n, float) and not math.isfinite(n) else n for n in npy.numbers(array)
    ]
    return {"dtype": array.dtype, "shape": array.shape, "values": finite}
