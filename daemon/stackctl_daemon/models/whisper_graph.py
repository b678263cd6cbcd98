"""ONNX graphs of Whisper over CTranslate2's ``model.bin``; refuses other architectures.

The weights stay where they are, as float16, or whole numbers with a scale a row, that ONNX Runtime
widens when it loads: the graphs
name their offsets as external data, so converting costs milliseconds and no disk. The encoder
also gives keys and values of the decoder's cross attention, once a window; the decoder takes and
gives those of its self attention, so a token costs the same whether it is the first or the last.
Source: Radford et al. 2022; `whisper/model.py` of openai-whisper for the order of operations,
`ctranslate2/converters` for names and for the fused projections.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from stackctl.errors import Invalid
from stackctl_daemon.models import onnx_wire as wire
from stackctl_daemon.models.ctranslate2_file import CTranslate2File, read_ctranslate2
from stackctl_daemon.models.safetensors import TensorSlice

GRAPH_VERSION = 1
"""Part of the graphs' file names: a change of the recipe builds anew."""
WEIGHTS = "model.bin"
ENCODER_FILE = f"encoder-v{GRAPH_VERSION}.onnx"
DECODER_FILE = f"decoder-v{GRAPH_VERSION}.onnx"

_OPSET = 17
_DTYPES = {"F32": wire.FLOAT, "F16": wire.FLOAT16, "BF16": wire.BFLOAT16}
_PACKED = {"I8": wire.INT8, "I16": wire.INT16}
"""Weights that were multiplied by a scale and rounded: ``ModelSpec._quantize`` of CTranslate2."""
_EPSILON = 1e-5
_CROSS = "attention/linear_1"


def build_whisper(directory: Path) -> Path:
    """Write both graphs of ``model.bin`` beside it, where they differ; give the encoder's.

    Encoder: ``mel`` float32 ``(batch, mels, frames)`` to ``cross_key_I``
    ``(batch, heads, width, frames / 2)`` and ``cross_value_I`` of each decoder layer.
    Decoder: ``input_ids`` int64 ``(batch, tokens)``, those, and ``past_key_I``, ``past_value_I``
    ``(batch, heads, past, width)``, to ``logits`` of the last token, ``present_key_I`` and
    ``present_value_I``.

    Raises:
        Invalid: the file is not a Whisper model, or its weights are not floats.
    """
    for name, data in _expected(directory).items():
        if not _holds(directory / name, data):
            _replace(directory / name, data)
    return directory / ENCODER_FILE


def whisper_problem(directory: Path) -> str:
    """Tell what is wrong with the graphs on disk; "" when nothing, or when they are to build.

    Raises:
        Invalid: as `build_whisper`.
    """
    for name, data in _expected(directory).items():
        if (directory / name).exists() and not _holds(directory / name, data):
            return f"{name} is not what the model's files make; the next use makes it anew"
    return ""


def encode_whisper(source: CTranslate2File, *, file: str = WEIGHTS) -> dict[str, bytes]:
    """Give both ModelProtos by file name.

    Raises:
        Invalid: as `build_whisper`.
    """
    if source.spec != "WhisperSpec":
        raise Invalid(f'{file} is of the kind "{source.spec}", expected "WhisperSpec"')
    return {
        ENCODER_FILE: _Encoder(source, file).build(),
        DECODER_FILE: _Decoder(source, file).build(),
    }


def _expected(directory: Path) -> Mapping[str, bytes]:
    return encode_whisper(read_ctranslate2(directory / WEIGHTS))


def _holds(file: Path, data: bytes) -> bool:
    try:
        return file.stat().st_size == len(data) and file.read_bytes() == data
    except FileNotFoundError:
        return False


def _replace(target: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=".graph-", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)


class _Builder:
    """Collects nodes and initializers; every method gives the name of its output.

    Vectors run as ``(batch * tokens, hidden)``, the shape that Gemm takes; ``split_shape`` and
    ``flat_shape`` turn them into heads and back.
    """

    def __init__(self, source: CTranslate2File, file: str):
        self.tensors, self.file = source.tensors, file
        heads = source.numbers.get("decoder/num_heads", 0)
        self.hidden = self.shape("decoder/embeddings/weight")[1]
        if heads < 1 or self.hidden % heads:
            raise Invalid(f"{file} has {heads} heads over a width of {self.hidden}")
        self.heads, self.width = heads, self.hidden // heads
        self.layers = self.count("decoder")
        self.nodes: list[bytes] = []
        self.initializers: list[bytes] = []
        self.known: set[str] = set()
        for name, values in {
            "axis_0": (0,),
            "axis_1": (1,),
            "axis_2": (2,),
            "flat_shape": (-1, self.hidden),
            "heads_and_width": (self.heads, self.width),
        }.items():
            self.ints(name, *values)
        self.scalar("one", 1.0)
        self.scalar("half", 0.5)
        self.scalar("sqrt_2", 2.0**0.5)
        self.scalar("scale", self.width**-0.5)

    def op(self, kind: str, output: str, *inputs: str, **attributes: wire.Attribute) -> str:
        self.nodes.append(wire.node(kind, inputs, [output], **attributes))
        return output

    def ints(self, name: str, *values: int) -> str:
        self.initializers.append(wire.int64_tensor(name, values))
        return name

    def scalar(self, name: str, value: float) -> str:
        self.initializers.append(wire.float_scalar(name, value))
        return name

    def find(self, name: str) -> TensorSlice:
        found = self.tensors.get(name)
        packed = found is not None and found.dtype in _PACKED and f"{name}_scale" in self.tensors
        if found is None or not (packed or found.dtype in _DTYPES):
            got = f"of {found.dtype}" if found else "missing"
            raise Invalid(f"{self.file}: {name} is {got}, expected {', '.join(_DTYPES)}")
        return found

    def shape(self, name: str) -> tuple[int, ...]:
        return self.find(name).shape

    def count(self, side: str) -> int:
        number = 0
        while f"{side}/layer_{number}/ffn/linear_0/weight" in self.tensors:
            number += 1
        if not number:
            raise Invalid(f"{self.file} has no {side}/layer_0")
        return number

    def stored(self, name: str) -> tuple[str, int]:
        """Give a weight as it is stored, with its type."""
        found = self.find(name)
        kind = (_DTYPES | _PACKED)[found.dtype]
        if name not in self.known:
            self.known.add(name)
            self.initializers.append(
                wire.external_tensor(
                    name,
                    kind,
                    found.shape,
                    file=self.file,
                    offset=found.offset,
                    length=found.length,
                )
            )
        return name, kind

    def weight(self, name: str) -> str:
        stored, kind = self.stored(name)
        if kind == wire.FLOAT:
            return stored
        wide = self.widen(f"{name}.f32", stored)
        if kind not in _PACKED.values():
            return wide
        rank = len(self.shape(name))
        return self.op("Div", f"{name}.unpacked", wide, self.divisor(name, rank))

    def divisor(self, name: str, rank: int) -> str:
        """Give what a packed weight of so many axes was multiplied by: of each row, or of all."""
        scale, sizes = self.weight(f"{name}_scale"), self.shape(f"{name}_scale")
        rows = self.shape(name)[0]
        if sizes not in ((), (1,), (rows,)):
            raise Invalid(
                f"{self.file}: {name}_scale has the shape {list(sizes)}, expected {rows}"
            )
        if len(sizes) == 0 or rank == 1:
            return scale
        column = self.ints(f"{name}.column", -1, *[1] * (rank - 1))
        return self.op("Reshape", f"{name}.divisor", scale, column)

    def widen(self, output: str, source: str) -> str:
        return self.op("Cast", output, source, to=wire.FLOAT)

    def linear(self, scope: str, source: str) -> str:
        weight, bias = self.weight(f"{scope}/weight"), self.weight(f"{scope}/bias")
        return self.op("Gemm", f"{scope}.out", source, weight, bias, transB=1)

    def norm(self, scope: str, source: str) -> str:
        scale, bias = self.weight(f"{scope}/gamma"), self.weight(f"{scope}/beta")
        return self.op(
            "LayerNormalization", f"{scope}.out", source, scale, bias, axis=-1, epsilon=_EPSILON
        )

    def gelu(self, scope: str, source: str) -> str:
        """Exact GELU, in the order of operations that ORT fuses."""
        ratio = self.op("Div", f"{scope}.gelu.ratio", source, "sqrt_2")
        curve = self.op("Erf", f"{scope}.gelu.erf", ratio)
        raised = self.op("Add", f"{scope}.gelu.raised", curve, "one")
        product = self.op("Mul", f"{scope}.gelu.product", source, raised)
        return self.op("Mul", f"{scope}.gelu.out", product, "half")

    def ffn(self, scope: str, source: str) -> str:
        wide = self.linear(f"{scope}/linear_0", self.norm(f"{scope}/layer_norm", source))
        narrow = self.linear(f"{scope}/linear_1", self.gelu(scope, wide))
        return self.op("Add", f"{scope}.sum", narrow, source)

    def parts(self, scope: str, source: str, *names: str) -> list[str]:
        """Split a fused projection along its width."""
        outputs = [f"{scope}.{name}" for name in names]
        sizes = self.ints(f"{scope}.sizes", *[self.hidden] * len(names))
        self.nodes.append(wire.node("Split", [source, sizes], outputs, axis=1))
        return outputs

    def head(self, source: str, *order: int) -> str:
        split = self.op("Reshape", f"{source}.split", source, "split_shape")
        return self.op("Transpose", f"{source}.heads", split, perm=order)

    def attend(self, scope: str, query: str, key: str, value: str, mask: str = "") -> str:
        """Scaled dot-product attention over ``(batch, heads, tokens, width)``."""
        scaled = self.op("Mul", f"{scope}.scaled", query, "scale")
        scores = self.op("MatMul", f"{scope}.scores", scaled, key)
        if mask:
            scores = self.op("Add", f"{scope}.masked", scores, mask)
        weights = self.op("Softmax", f"{scope}.weights", scores, axis=-1)
        mixed = self.op("MatMul", f"{scope}.mixed", weights, value)
        merged = self.op("Transpose", f"{scope}.merged", mixed, perm=(0, 2, 1, 3))
        return self.op("Reshape", f"{scope}.flat", merged, "flat_shape")

    def model(self, name: str, inputs: list[bytes], outputs: list[bytes]) -> bytes:
        return wire.model(
            name=name,
            nodes=self.nodes,
            initializers=self.initializers,
            inputs=inputs,
            outputs=outputs,
            opset=_OPSET,
        )

    def cross(self, positions: int) -> list[bytes]:
        """Keys and values of the audio, as the decoder takes them."""
        free = ("batch", self.heads)
        found = []
        for number in range(self.layers):
            key = (*free, self.width, positions)
            found.append(wire.value_info(f"cross_key_{number}", wire.FLOAT, key))
            value = (*free, positions, self.width)
            found.append(wire.value_info(f"cross_value_{number}", wire.FLOAT, value))
        return found


class _Encoder(_Builder):
    def build(self) -> bytes:
        mels = self.shape("encoder/conv1/weight")[1]
        positions = self.shape("encoder/position_encodings/encodings")[0]
        self.op("Shape", "mel_shape", "mel")
        self.op("Slice", "batch", "mel_shape", "axis_0", "axis_1", "axis_0")
        self.ints("positions", positions)
        self.op("Concat", "split_shape", "batch", "positions", "heads_and_width", axis=0)
        first = self._convolve("encoder/conv1", "mel", 1)
        second = self._convolve("encoder/conv2", first, 2)
        turned = self.op("Transpose", "frames", second, perm=(0, 2, 1))
        places = self.weight("encoder/position_encodings/encodings")
        placed = self.op("Add", "placed", turned, places)
        current = self.op("Reshape", "placed.flat", placed, "flat_shape")
        for number in range(self.count("encoder")):
            current = self._layer(f"encoder/layer_{number}", current)
        current = self.norm("encoder/layer_norm", current)
        for number in range(self.layers):
            scope = f"decoder/layer_{number}/{_CROSS}"
            key, value = self.parts(scope, self.linear(scope, current), "key", "value")
            self.op("Identity", f"cross_key_{number}", self.head(key, 0, 2, 3, 1))
            self.op("Identity", f"cross_value_{number}", self.head(value, 0, 2, 1, 3))
        mel = wire.value_info("mel", wire.FLOAT, ("batch", mels, 2 * positions))
        return self.model("whisper-encoder", [mel], self.cross(positions))

    def _convolve(self, scope: str, source: str, stride: int) -> str:
        weight, bias = self.weight(f"{scope}/weight"), self.weight(f"{scope}/bias")
        output = f"{scope}.out"
        self.op("Conv", output, source, weight, bias, pads=(1, 1), strides=(stride,))
        return self.gelu(scope, output)

    def _layer(self, scope: str, source: str) -> str:
        inner = f"{scope}/self_attention"
        fused = self.linear(f"{inner}/linear_0", self.norm(f"{inner}/layer_norm", source))
        query, key, value = self.parts(inner, fused, "query", "key", "value")
        mixed = self.attend(
            inner,
            self.head(query, 0, 2, 1, 3),
            self.head(key, 0, 2, 3, 1),
            self.head(value, 0, 2, 1, 3),
        )
        total = self.op("Add", f"{inner}.sum", self.linear(f"{inner}/linear_1", mixed), source)
        return self.ffn(f"{scope}/ffn", total)


class _Decoder(_Builder):
    def build(self) -> bytes:
        self._constants()
        table, kind = self.stored("decoder/embeddings/weight")
        words = self.op("Gather", "words", table, "input_ids", axis=0)
        words = words if kind == wire.FLOAT else self.widen("words.f32", words)
        if kind in _PACKED.values():
            scale = self.divisor("decoder/embeddings/weight", 2)
            if len(self.shape("decoder/embeddings/weight_scale")):
                scale = self.op("Gather", "words.scale", scale, "input_ids", axis=0)
            words = self.op("Div", "words.unpacked", words, scale)
        placed = self.op("Add", "placed", words, "places")
        current = self.op("Reshape", "placed.flat", placed, "flat_shape")
        for number in range(self.layers):
            current = self._layer(number, current)
        apart = self.op("Reshape", "apart", current, "tokens_shape")
        last = self.op("Gather", "last", apart, "last_index", axis=1)
        flat = self.op("Reshape", "last.flat", last, "flat_shape")
        normed = self.norm("decoder/layer_norm", flat)
        projection = self.weight("decoder/projection/weight")
        self.op("Gemm", "logits", normed, projection, transB=1)
        vocabulary = self.shape("decoder/projection/weight")[0]
        logits = wire.value_info("logits", wire.FLOAT, ("batch", vocabulary))
        ids = wire.value_info("input_ids", wire.INT64, ("batch", "tokens"))
        positions = self.shape("encoder/position_encodings/encodings")[0]
        inputs = [ids, *self.cross(positions), *self._cache("past", "past")]
        return self.model("whisper-decoder", inputs, [logits, *self._cache("present", "total")])

    def _cache(self, name: str, length: str) -> list[bytes]:
        shape = ("batch", self.heads, length, self.width)
        return [
            wire.value_info(f"{name}_{part}_{number}", wire.FLOAT, shape)
            for number in range(self.layers)
            for part in ("key", "value")
        ]

    def _constants(self) -> None:
        """Shapes, the places of the new tokens, and who may look at whom."""
        self.ints("hidden_size", self.hidden)
        self.ints("axis_3", 3)
        self.ints("last_index", -1)
        self.scalar("none", 0.0)
        self.scalar("hidden_score", -1e9)
        self.op("Shape", "ids_shape", "input_ids")
        self.op("Concat", "split_shape", "ids_shape", "heads_and_width", axis=0)
        self.op("Concat", "tokens_shape", "ids_shape", "hidden_size", axis=0)
        self.op("Slice", "new", "ids_shape", "axis_1", "axis_2", "axis_0")
        self.op("Shape", "past_shape", "past_key_0")
        self.op("Slice", "past", "past_shape", "axis_2", "axis_3", "axis_0")
        self.op("Add", "total", "past", "new")
        encodings = self.weight("decoder/position_encodings/encodings")
        self.op("Slice", "places", encodings, "past", "total", "axis_0")
        rank_0 = [self.op("Squeeze", f"{name}.number", name) for name in ("past", "total")]
        self.initializers.append(wire.int64_scalar("zero.number", 0))
        self.initializers.append(wire.int64_scalar("one.number", 1))
        self.op("Range", "rows", *rank_0, "one.number")
        self.op("Range", "columns", "zero.number", rank_0[1], "one.number")
        self.op("Unsqueeze", "rows.column", "rows", "axis_1")
        self.op("LessOrEqual", "seen", "columns", "rows.column")
        self.op("Where", "mask", "seen", "none", "hidden_score")

    def _layer(self, number: int, source: str) -> str:
        scope = f"decoder/layer_{number}"
        inner = f"{scope}/self_attention"
        fused = self.linear(f"{inner}/linear_0", self.norm(f"{inner}/layer_norm", source))
        query, key, value = self.parts(inner, fused, "query", "key", "value")
        keys, values = (
            self.op(
                "Concat",
                f"present_{part}_{number}",
                f"past_{part}_{number}",
                self.head(new, 0, 2, 1, 3),
                axis=2,
            )
            for part, new in (("key", key), ("value", value))
        )
        turned = self.op("Transpose", f"{inner}.keys", keys, perm=(0, 1, 3, 2))
        mixed = self.attend(inner, self.head(query, 0, 2, 1, 3), turned, values, "mask")
        total = self.op("Add", f"{inner}.sum", self.linear(f"{inner}/linear_1", mixed), source)
        outer = f"{scope}/attention"
        asked = self.linear(f"{outer}/linear_0", self.norm(f"{outer}/layer_norm", total))
        heard = self.attend(
            outer, self.head(asked, 0, 2, 1, 3), f"cross_key_{number}", f"cross_value_{number}"
        )
        both = self.op("Add", f"{outer}.sum", self.linear(f"{outer}/linear_2", heard), total)
        return self.ffn(f"{scope}/ffn", both)
