"""The graphs against an independent Whisper in numpy, on small random weights."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from stackctl.errors import Invalid
from stackctl_daemon.models.whisper_graph import (
    DECODER_FILE,
    ENCODER_FILE,
    build_whisper,
    whisper_problem,
)

HIDDEN, HEADS, LAYERS, VOCABULARY, POSITIONS, MELS, TEXT = 16, 4, 2, 40, 12, 6, 20
WIDTH = HIDDEN // HEADS
Array = Any  # shapes are what matters here, and numpy's types do not know them
Weights = dict[str, Array]


def random_weights() -> Weights:
    random = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        "decoder/embeddings/weight": (VOCABULARY, HIDDEN),
        "decoder/position_encodings/encodings": (TEXT, HIDDEN),
        "encoder/conv1/weight": (HIDDEN, MELS, 3),
        "encoder/conv1/bias": (HIDDEN,),
        "encoder/conv2/weight": (HIDDEN, HIDDEN, 3),
        "encoder/conv2/bias": (HIDDEN,),
        "encoder/position_encodings/encodings": (POSITIONS, HIDDEN),
    }
    linears = {"self_attention/linear_0": (3, 1), "self_attention/linear_1": (1, 1)}
    linears |= {"ffn/linear_0": (4, 1), "ffn/linear_1": (1, 4)}
    outer = {"attention/linear_0": (1, 1), "attention/linear_1": (2, 1)}
    outer |= {"attention/linear_2": (1, 1)}
    for side in ("encoder", "decoder"):
        cross = side == "decoder"
        norms = [f"{side}/layer_norm"]
        for number in range(LAYERS):
            scope = f"{side}/layer_{number}"
            for name, (high, wide) in (linears | (outer if cross else {})).items():
                shapes[f"{scope}/{name}/weight"] = (high * HIDDEN, wide * HIDDEN)
                shapes[f"{scope}/{name}/bias"] = (high * HIDDEN,)
            parts = ["self_attention", "ffn", *(["attention"] if cross else [])]
            norms += [f"{scope}/{part}/layer_norm" for part in parts]
        for name in norms:
            shapes[f"{name}/gamma"] = shapes[f"{name}/beta"] = (HIDDEN,)
    return {n: random.normal(0, 0.5, shape).astype(np.float16) for n, shape in shapes.items()}


def pack(weights: Weights, kind: str) -> tuple[Weights, Weights]:
    """Give weights as `ModelSpec._quantize` of CTranslate2 4.8 packs them, and as they unpack.

    Only those of layers are packed: not biases, norms or positions.
    """
    packed: Weights = {}
    plain: Weights = {}
    for name, value in weights.items():
        wide = value.astype(np.float32)
        packed[name] = plain[name] = value
        if not name.endswith("/weight"):
            continue
        if kind == "int16":
            scale = np.float32(2**10 / np.abs(wide).max())
        else:
            largest = np.abs(wide.reshape(len(wide), -1)).max(axis=1)
            largest[largest == 0] = 127.0
            scale = (127.0 / largest).astype(np.float32)
        factor = scale.reshape(-1, *[1] * (wide.ndim - 1)) if scale.ndim else scale
        packed[name] = np.rint(wide * factor).astype(kind)
        packed[f"{name}_scale"] = np.array(scale, np.float32)
        plain[name] = (packed[name] / factor).astype(np.float32)
    return packed, plain


def write(folder: Path, weights: Weights, *, spec: str = "WhisperSpec") -> None:
    def text(value: str) -> bytes:
        data = value.encode() + b"\0"
        return struct.pack("<H", len(data)) + data

    kinds = {"int16": 2, "float16": 4, "float32": 0, "int8": 1}
    stored = {"decoder/num_heads": np.array(HEADS, np.int16), **weights}
    parts = [struct.pack("<I", 6), text(spec), struct.pack("<II", 3, len(stored))]
    for name, value in stored.items():
        shape = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        head = struct.pack("<BI", kinds[value.dtype.name], value.nbytes)
        parts += [text(name), shape, head, value.tobytes()]
    tied = text("decoder/projection/weight") + text("decoder/embeddings/weight")
    (folder / "model.bin").write_bytes(b"".join([*parts, struct.pack("<I", 1), tied]))


class Reference:
    """Whisper as `whisper/model.py` has it: no cache, one sound at a time, float64."""

    def __init__(self, weights: Weights) -> None:
        self.weights = {name: value.astype(np.float64) for name, value in weights.items()}

    def linear(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"{name}/weight"].T + self.weights[f"{name}/bias"]

    def norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * self.weights[f"{name}/gamma"] + self.weights[f"{name}/beta"]

    def attend(self, q: Array, k: Array, v: Array, causal: bool) -> Array:
        out = []
        for head in range(HEADS):
            part = slice(head * WIDTH, (head + 1) * WIDTH)
            scores = q[:, part] @ k[:, part].T / math.sqrt(WIDTH)
            if causal:
                scores = np.where(np.tril(np.ones_like(scores)) > 0, scores, -np.inf)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            out.append(shares / shares.sum(-1, keepdims=True) @ v[:, part])
        return np.concatenate(out, axis=-1)

    def block(self, scope: str, x: Array, sound: Array | None) -> Array:
        name = f"{scope}/self_attention"
        q, k, v = np.split(
            self.linear(f"{name}/linear_0", self.norm(f"{name}/layer_norm", x)), 3, 1
        )
        mixed = self.attend(q, k, v, causal=sound is not None)
        x = x + self.linear(f"{name}/linear_1", mixed)
        if sound is not None:
            name = f"{scope}/attention"
            q = self.linear(f"{name}/linear_0", self.norm(f"{name}/layer_norm", x))
            k, v = np.split(self.linear(f"{name}/linear_1", sound), 2, 1)
            x = x + self.linear(f"{name}/linear_2", self.attend(q, k, v, causal=False))
        name = f"{scope}/ffn"
        wide = gelu(self.linear(f"{name}/linear_0", self.norm(f"{name}/layer_norm", x)))
        return x + self.linear(f"{name}/linear_1", wide)

    def convolve(self, name: str, x: Array, stride: int) -> Array:
        padded = np.pad(x, ((0, 0), (1, 1)))
        weight, bias = self.weights[f"{name}/weight"], self.weights[f"{name}/bias"]
        steps = range(0, x.shape[1], stride)
        columns = [np.tensordot(weight, padded[:, i : i + 3], 2) + bias for i in steps]
        return gelu(np.stack(columns, axis=1))

    def logits(self, mel: Array, ids: list[int]) -> Array:
        """Of the last token."""
        heard = self.convolve("encoder/conv2", self.convolve("encoder/conv1", mel, 1), 2).T
        x = heard + self.weights["encoder/position_encodings/encodings"]
        for number in range(LAYERS):
            x = self.block(f"encoder/layer_{number}", x, None)
        sound = self.norm("encoder/layer_norm", x)
        table = self.weights["decoder/embeddings/weight"]
        x = table[ids] + self.weights["decoder/position_encodings/encodings"][: len(ids)]
        for number in range(LAYERS):
            x = self.block(f"decoder/layer_{number}", x, sound)
        return self.norm("decoder/layer_norm", x)[-1] @ table.T


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


class Graphs:
    """Both graphs, driven as the adapter drives them."""

    def __init__(self, folder: Path, mel: Array) -> None:
        session: Any = onnxruntime.InferenceSession
        encoder, self.decoder = session(folder / ENCODER_FILE), session(folder / DECODER_FILE)
        names = [item.name for item in encoder.get_outputs()]
        self.heard = dict(zip(names, encoder.run(None, {"mel": mel}), strict=True))
        empty = np.zeros((len(mel), HEADS, 0, WIDTH), np.float32)
        held = [item.name for item in self.decoder.get_inputs() if item.name.startswith("past")]
        self.past = dict.fromkeys(held, empty)

    def step(self, ids: list[list[int]]) -> Array:
        names = [item.name for item in self.decoder.get_outputs()]
        feed = {"input_ids": np.array(ids, np.int64), **self.heard, **self.past}
        found = dict(zip(names, self.decoder.run(None, feed), strict=True))
        logits = found.pop("logits")
        self.past = {name.replace("present", "past"): v for name, v in found.items()}
        return logits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, random_weights())
    build_whisper(tmp_path)
    return tmp_path


@pytest.mark.parametrize("steps", [(7,), (1, 1, 1, 1, 1, 1, 1), (3, 1, 3)])
def test_logits_are_those_of_the_reference_however_tokens_are_fed(
    folder: Path, steps: tuple[int, ...]
) -> None:
    random = np.random.default_rng(5)
    mel = random.normal(0, 1, (2, MELS, 2 * POSITIONS)).astype(np.float32)
    ids = random.integers(0, VOCABULARY, (2, 7)).tolist()
    reference = Reference(random_weights())
    graphs = Graphs(folder, mel)

    at = 0
    for count in steps:
        found = graphs.step([row[at : at + count] for row in ids])
        at += count
        expected = [reference.logits(mel[i], ids[i][:at]) for i in range(2)]
        np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_packed_weights_give_what_they_unpack_to(tmp_path: Path, kind: str) -> None:
    weights = random_weights()
    weights["decoder/layer_0/ffn/linear_0/weight"][3] = 0
    packed, plain = pack(weights, kind)
    write(tmp_path, packed)
    build_whisper(tmp_path)
    random = np.random.default_rng(5)
    mel = random.normal(0, 1, (2, MELS, 2 * POSITIONS)).astype(np.float32)
    ids = random.integers(0, VOCABULARY, (2, 5)).tolist()

    found = Graphs(tmp_path, mel).step(ids)

    reference = Reference(plain)
    expected = [reference.logits(mel[i], ids[i]) for i in range(2)]
    np.testing.assert_allclose(found, expected, atol=2e-4)
    onnx.checker.check_model(tmp_path / DECODER_FILE, full_check=True)


def test_a_scale_of_another_length_is_refused(tmp_path: Path) -> None:
    packed, _ = pack(random_weights(), "int8")
    name = "decoder/layer_1/ffn/linear_1/weight_scale"
    write(tmp_path, packed | {name: np.ones(3, np.float32)})

    with pytest.raises(Invalid, match=rf"{name} has the shape \[3\], expected 16"):
        build_whisper(tmp_path)


def test_graphs_pass_onnx_own_checker_and_are_the_same_each_time(folder: Path) -> None:
    before = [(folder / name).read_bytes() for name in (ENCODER_FILE, DECODER_FILE)]

    onnx.checker.check_model(folder / ENCODER_FILE, full_check=True)
    onnx.checker.check_model(folder / DECODER_FILE, full_check=True)
    build_whisper(folder)

    assert [(folder / name).read_bytes() for name in (ENCODER_FILE, DECODER_FILE)] == before
    assert max(map(len, before)) < 100_000


@pytest.mark.parametrize("name", [ENCODER_FILE, DECODER_FILE])
def test_a_damaged_graph_is_told_and_made_anew(folder: Path, name: str) -> None:
    good = (folder / name).read_bytes()
    assert whisper_problem(folder) == ""
    (folder / name).write_bytes(good[:-1] + b"x")
    assert whisper_problem(folder).startswith(f"{name} is not what")

    build_whisper(folder)

    assert (folder / name).read_bytes() == good


def test_another_kind_and_missing_or_packed_weights_are_refused(tmp_path: Path) -> None:
    weights = random_weights()
    write(tmp_path, weights, spec="TransformerSpec")
    with pytest.raises(Invalid, match='of the kind "TransformerSpec", expected "WhisperSpec"'):
        build_whisper(tmp_path)
    name = "decoder/layer_1/ffn/linear_1/weight"
    write(tmp_path, weights | {name: np.zeros((HIDDEN, 4 * HIDDEN), np.int8)})
    with pytest.raises(Invalid, match=f"{name} is of I8, expected F32, F16, BF16"):
        build_whisper(tmp_path)
    write(tmp_path, {n: v for n, v in weights.items() if n != "encoder/layer_norm/gamma"})
    with pytest.raises(Invalid, match="encoder/layer_norm/gamma is missing"):
        build_whisper(tmp_path)
