"""ONNX graphs of Whisper over CTranslate2's ``model.bin``; refuses other architectures.

The weights stay where they are, as float16, or whole numbers with a scale a row, that ONNX
Runtime widens when it loads: the graphs name their offsets as external data, so converting costs
milliseconds and no disk. The encoder
also gives keys and values of the decoder's cross attention, once a window; the decoder takes and
gives those of its self attention, so a token costs the same whether it is the first or the last.
Source: Radford et al. 2022; `whisper/model.py` of openai-whisper for the order of operations,
`ctranslate2/converters` for names and for the fused projections.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stackctl.errors import Invalid
from stackctl_daemon.models import onnx_wire as wire
from stackctl_daemon.models.ctranslate2_file import CTranslate2File, read_ctranslate2
from stackctl_daemon.models.durable_file import holds, replace
from stackctl_daemon.models.whisper_layers import PACKED, Layers

GRAPH_VERSION = 1
"""Part of the graphs' file names: a change of the recipe builds anew."""
WEIGHTS = "model.bin"
ENCODER_FILE = f"encoder-v{GRAPH_VERSION}.onnx"
DECODER_FILE = f"decoder-v{GRAPH_VERSION}.onnx"

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
        if not holds(directory / name, data):
            replace(directory / name, data)
    return directory / ENCODER_FILE


def whisper_problem(directory: Path) -> str:
    """Tell what is wrong with the graphs on disk; "" when nothing, or when they are to build.

    Raises:
        Invalid: as `build_whisper`.
    """
    for name, data in _expected(directory).items():
        if (directory / name).exists() and not holds(directory / name, data):
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


class _Encoder(Layers):
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


class _Decoder(Layers):
    def build(self) -> bytes:
        self._constants()
        table, kind = self.stored("decoder/embeddings/weight")
        words = self.op("Gather", "words", table, "input_ids", axis=0)
        words = words if kind == wire.FLOAT else self.widen("words.f32", words)
        if kind in PACKED.values():
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
