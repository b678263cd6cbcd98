"""The real tiny.en with its weights packed as CTranslate2 packs them."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import numpy as np
import pytest

from stackctl_daemon.inference.adapters.base import Input, ModelSpec
from stackctl_daemon.inference.adapters.transcription import Transcription
from stackctl_daemon.inference.session import DevicePolicy
from stackctl_daemon.models.ctranslate2_file import read_ctranslate2
from stackctl_daemon.models.service import ModelService
from stackctl_daemon.models.whisper_graph import build_whisper

pytestmark = pytest.mark.model

SAID = "Ever tried, ever failed. No matter, try again. Fail again. Fail better."
_TYPES = {"F32": "<f4", "I8": "<i1", "I16": "<i2", "F16": "<f2"}
_KINDS = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}


def pack(source: Path, target: Path) -> None:
    """Write a model.bin anew, its weights as `ModelSpec._quantize` of CTranslate2 4.8 has int8."""
    data = source.read_bytes()
    found = read_ctranslate2(source)
    written: dict[str, np.ndarray] = {}
    places: dict[int, str] = {}
    aliases: list[tuple[str, str]] = []
    for name, place in found.tensors.items():
        if place.offset in places:
            aliases.append((name, places[place.offset]))
            continue
        places[place.offset] = name
        raw = data[place.offset : place.offset + place.length]
        value = np.frombuffer(raw, _TYPES[place.dtype]).reshape(place.shape)
        if name.endswith("/weight"):
            wide = value.astype(np.float32)
            largest = np.abs(wide.reshape(len(wide), -1)).max(axis=1)
            scale = 127.0 / np.where(largest == 0, np.float32(127), largest)
            packed = np.rint(wide * scale.reshape(-1, *[1] * (wide.ndim - 1))).astype(np.int8)
            written |= {name: packed, f"{name}_scale": scale.astype(np.float32)}
        else:
            written[name] = value if value.ndim == 0 else value.astype(np.float32)
    parts = [struct.pack("<I", 6), _text(found.spec), struct.pack("<II", 3, len(written))]
    for name, value in written.items():
        sizes = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        head = struct.pack("<BI", _KINDS[value.dtype.name], value.nbytes)
        parts += [_text(name), sizes, head, value.tobytes()]
    parts.append(struct.pack("<I", len(aliases)))
    target.write_bytes(b"".join([*parts, *(_text(a) + _text(n) for a, n in aliases)]))


def _text(value: str) -> bytes:
    data = value.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def test_int8_weights_say_the_same_words(
    audio_store: ModelService, clip: bytes, tmp_path: Path
) -> None:
    real = asyncio.run(audio_store.ready("whisper-tiny.en")).directory
    pack(real / "model.bin", tmp_path / "model.bin")
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((real / name).read_bytes())
    graph = build_whisper(tmp_path)
    spec = ModelSpec("packed", tmp_path, graph, tmp_path / "tokenizer.json")

    model = Transcription(spec, DevicePolicy("cpu").open)
    [result] = model.compute(model.prepare([Input(data=clip)], {}))

    assert result.value["text"] == SAID
    assert (tmp_path / "model.bin").stat().st_size < 0.6 * (real / "model.bin").stat().st_size
    assert len(list(tmp_path.glob("*.onnx"))) == 2
