"""ONNX graph of a BERT sentence encoder over its safetensors; refuses other architectures.

The weights stay where they are: the graph names their offsets as external data, so a model is
on disk once and its pages are shared. Linear weights are ``[out, in]``, which is Gemm's
``transB``: no transposed copies in memory.

Padding is not computed: the tokens of a batch are packed before the first layer, and only
attention, which goes by text, spreads them out again. A batch of 14 to 18 tokens a text takes
.89 of the time that it takes padded, one of 8 to 64 .59, one of 8 to 200 .41, and one without
padding 1.00 to 1.03 (one core, ADR 8); the vectors are the same to the last bit. How many tokens
are left depends on the mask, which stalls a GPU and forbids CUDA graphs and TensorRT, so a padded
graph lies beside for those.
Source: Devlin et al. 2019; `modeling_bert.py` of transformers for the names of the tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stackctl.errors import Invalid
from stackctl_daemon.models import onnx_wire as wire
from stackctl_daemon.models.durable_file import holds, replace
from stackctl_daemon.models.safetensors import TensorSlice, read_header

GRAPH_VERSION = 2
"""Part of the graph's file name: a change of the recipe builds anew."""
GRAPH_FILE = f"graph-v{GRAPH_VERSION}.onnx"
PADDED_FILE = f"graph-v{GRAPH_VERSION}.padded.onnx"
"""What a session on a GPU opens in place of it."""

_OPSET = 17  # the first with LayerNormalization
_DTYPES = {"F32": wire.FLOAT, "F16": wire.FLOAT16, "BF16": wire.BFLOAT16}
_ANCHOR = "embeddings.word_embeddings.weight"


def build_graph(directory: Path) -> Path:
    """Write the graphs of ``config.json`` and ``model.safetensors`` beside them, if they differ.

    Gives the one that packs.

    Inputs ``input_ids``, ``attention_mask``, ``token_type_ids``: int64 ``(batch, tokens)``.
    Outputs ``sentence_embedding``: float32 ``(batch, dims)``, mean-pooled, L2-normalised;
    ``last_hidden_state``: float32 ``(batch, tokens, dims)``.

    Raises:
        Invalid: the configuration or the tensors are not those of a BERT encoder.
    """
    for name, data in _expected(directory).items():
        if not holds(directory / name, data):
            replace(directory / name, data)
    return directory / GRAPH_FILE


def graph_problem(directory: Path) -> str:
    """Tell what is wrong with the graphs on disk; "" when nothing, or when they are yet to build.

    Raises:
        Invalid: as `build_graph`.
    """
    if not (directory / GRAPH_FILE).exists():
        return ""
    for name, data in _expected(directory).items():
        if not holds(directory / name, data):
            return f"{name} is not what the model's files make; the next use makes it anew"
    return ""


def _expected(directory: Path) -> dict[str, bytes]:
    """Give the files, the packed graph last: it is never there without the other."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    tensors = read_header(directory / "model.safetensors")
    return {
        PADDED_FILE: encode_graph(config, tensors, make=PaddedBuilder),
        GRAPH_FILE: encode_graph(config, tensors),
    }


def encode_graph(
    config: dict[str, Any],  # Any: JSON
    tensors: dict[str, TensorSlice],
    *,
    file: str = "model.safetensors",
    make: Callable[..., Builder] | None = None,
) -> bytes:
    """Give the ModelProto for a configuration and the places of its tensors.

    Args:
        config: ``config.json``.
        tensors: where each tensor lies.
        file: the file they lie in, beside the graph.
        make: another builder, which takes what `Builder` takes.

    Raises:
        Invalid: the configuration or the tensors are not those of a BERT encoder.
    """
    wanted = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, value in wanted.items():
        if config.get(key, value) != value:
            raise Invalid(f'config.json: {key} is "{config[key]}", expected "{value}"')
    prefix = next((n[: -len(_ANCHOR)] for n in tensors if n.endswith(_ANCHOR)), None)
    if prefix is None:
        raise Invalid(f"model.safetensors has no tensor {_ANCHOR}")
    try:
        builder = (make or Builder)(
            tensors,
            file,
            prefix,
            hidden=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
        )
        return builder.encoder(int(config["num_hidden_layers"]))
    except KeyError as err:
        raise Invalid(f"config.json has no {err}") from err


class Builder:
    """Collects nodes and initializers; every method gives the name of its output.

    Token vectors run as ``(kept tokens, hidden)``, the shape that Gemm takes.
    """

    metadata = {"packed": "1"}

    def __init__(
        self,
        tensors: dict[str, TensorSlice],
        file: str,
        prefix: str,
        *,
        hidden: int,
        heads: int,
        epsilon: float,
    ):
        self.tensors, self.file, self.prefix = tensors, file, prefix
        self.hidden, self.heads, self.epsilon = hidden, heads, epsilon
        self.nodes: list[bytes] = []
        self.initializers: list[bytes] = []

    def op(self, kind: str, output: str, *inputs: str, **attributes: wire.Attribute) -> str:
        """Add a node of one output."""
        self.nodes.append(wire.node(kind, inputs, [output], **attributes))
        return output

    def ints(self, name: str, *values: int) -> str:
        """Add a constant of whole numbers."""
        self.initializers.append(wire.int64_tensor(name, values))
        return name

    def scalar(self, name: str, value: float) -> str:
        """Add a constant number."""
        self.initializers.append(wire.float_scalar(name, value))
        return name

    def weight(self, name: str) -> str:
        """Name a tensor of the file, as float32."""
        found = self.tensors.get(self.prefix + name)
        if found is None or found.dtype not in _DTYPES:
            raise Invalid(f"model.safetensors has no float tensor {self.prefix}{name}")
        kind = _DTYPES[found.dtype]
        self.initializers.append(
            wire.external_tensor(
                name, kind, found.shape, file=self.file, offset=found.offset, length=found.length
            )
        )
        return name if kind == wire.FLOAT else self.op("Cast", f"{name}.f32", name, to=wire.FLOAT)

    def linear(self, scope: str, source: str) -> str:
        """Multiply by a layer's weights and add its bias."""
        weight, bias = self.weight(f"{scope}.weight"), self.weight(f"{scope}.bias")
        return self.op("Gemm", f"{scope}.out", source, weight, bias, transB=1)

    def norm(self, scope: str, source: str) -> str:
        """Normalise each token's vector."""
        scale, bias = self.weight(f"{scope}.weight"), self.weight(f"{scope}.bias")
        output = f"{scope}.out"
        return self.op(
            "LayerNormalization", output, source, scale, bias, axis=-1, epsilon=self.epsilon
        )

    def encoder(self, layers: int) -> bytes:
        """Give the whole model."""
        self._constants()
        current = self._embeddings()
        for number in range(layers):
            current = self._layer(f"encoder.layer.{number}", current)
        self.op("Reshape", "last_hidden_state", self.spread(current), "tokens_shape")
        self._pool()
        free = ("batch", "tokens")
        names = ("input_ids", "attention_mask", "token_type_ids")
        return wire.model(
            name="bert-sentence-encoder",
            nodes=self.nodes,
            initializers=self.initializers,
            inputs=[wire.value_info(name, wire.INT64, free) for name in names],
            outputs=[
                wire.value_info("sentence_embedding", wire.FLOAT, ("batch", self.hidden)),
                wire.value_info("last_hidden_state", wire.FLOAT, (*free, self.hidden)),
            ],
            opset=_OPSET,
            metadata=self.metadata,
        )

    def pack(self, flat: str) -> str:
        """Leave padding out of ``(batch * tokens, ...)``."""
        return self.op("Gather", f"{flat}.packed", flat, "kept", axis=0)

    def spread(self, packed: str) -> str:
        """Undo `pack`; padding gets the vector of a token before it, and stays masked."""
        return self.op("Gather", f"{packed}.spread", packed, "place", axis=0)

    def _constants(self) -> None:
        width = self.hidden // self.heads
        self.ints("axis_0", 0)
        self.ints("axis_1", 1)
        self.ints("axis_2", 2)
        self.ints("axes_1_2", 1, 2)
        self.ints("flat_shape", -1, self.hidden)
        self.ints("heads_and_width", self.heads, width)
        self.ints("hidden_size", self.hidden)
        self.scalar("one", 1.0)
        self.scalar("half", 0.5)
        self.scalar("sqrt_2", 2.0**0.5)
        self.scalar("scale", width**-0.5)
        # Far below any score, and far from float32's end, so that no sum of two overflows.
        self.scalar("hidden_score", -1e9)
        self.scalar("tiny", 1e-12)
        self.op("Shape", "ids_shape", "input_ids")
        self.op("Slice", "token_count", "ids_shape", "axis_1", "axis_2", "axis_0")
        self.op("Concat", "heads_shape", "ids_shape", "heads_and_width", axis=0)
        self.op("Concat", "tokens_shape", "ids_shape", "hidden_size", axis=0)
        self.op("Cast", "mask", "attention_mask", to=wire.FLOAT)
        self.op("Sub", "mask.off", "one", "mask")
        self.op("Mul", "mask.score", "mask.off", "hidden_score")
        self.op("Unsqueeze", "mask.bias", "mask.score", "axes_1_2")
        self._indices()

    def _indices(self) -> None:
        """Say where kept tokens stand among all, and where each of all stands among the kept."""
        self.ints("flat", -1)
        self.initializers += [wire.int64_scalar("first", 0), wire.int64_scalar("step", 1)]
        flat = self.op("Reshape", "mask.flat", "attention_mask", "flat")
        self.op("Reshape", "kept", self.op("NonZero", "kept.row", flat), "flat")
        before = self.op(
            "Sub", "place.before", self.op("CumSum", "place.sum", flat, "first"), "step"
        )
        self.op("Max", "place", before, "first")

    def _embeddings(self) -> str:
        def row(weights: str, output: str, index: str) -> str:
            return self.op("Gather", output, weights, index, axis=0)

        def flat(name: str) -> str:
            return self.pack(self.op("Reshape", f"{name}.flat", name, "flat"))

        scope = "embeddings"
        words = row(self.weight(_ANCHOR), "words", flat("input_ids"))
        types = self.weight(f"{scope}.token_type_embeddings.weight")
        kinds = row(types, "kinds", flat("token_type_ids"))
        width = self.op("Squeeze", "token_count.scalar", "token_count", "axis_0")
        positions = self.weight(f"{scope}.position_embeddings.weight")
        places = row(positions, "places", self.op("Mod", "position", "kept", width))
        both = self.op("Add", "words_kinds", words, kinds)
        return self.norm(f"{scope}.LayerNorm", self.op("Add", "embedded", both, places))

    def _layer(self, scope: str, source: str) -> str:
        mixed = self._attention(f"{scope}.attention", source)
        wide = self._gelu(scope, self.linear(f"{scope}.intermediate.dense", mixed))
        narrow = self.linear(f"{scope}.output.dense", wide)
        total = self.op("Add", f"{scope}.sum", narrow, mixed)
        return self.norm(f"{scope}.output.LayerNorm", total)

    def _attention(self, scope: str, source: str) -> str:
        def head(name: str, *order: int) -> str:
            flat = self.spread(self.linear(f"{scope}.self.{name}", source))
            split = self.op("Reshape", f"{scope}.{name}.split", flat, "heads_shape")
            return self.op("Transpose", f"{scope}.{name}", split, perm=order)

        query, value = head("query", 0, 2, 1, 3), head("value", 0, 2, 1, 3)
        key = head("key", 0, 2, 3, 1)
        scaled = self.op("Mul", f"{scope}.scaled", query, "scale")
        scores = self.op("MatMul", f"{scope}.scores", scaled, key)
        masked = self.op("Add", f"{scope}.masked", scores, "mask.bias")
        weights = self.op("Softmax", f"{scope}.weights", masked, axis=-1)
        mixed = self.op("MatMul", f"{scope}.mixed", weights, value)
        merged = self.op("Transpose", f"{scope}.merged", mixed, perm=(0, 2, 1, 3))
        flat = self.pack(self.op("Reshape", f"{scope}.flat", merged, "flat_shape"))
        dense = self.linear(f"{scope}.output.dense", flat)
        total = self.op("Add", f"{scope}.sum", dense, source)
        return self.norm(f"{scope}.output.LayerNorm", total)

    def _gelu(self, scope: str, source: str) -> str:
        """Exact GELU, in the order of operations that ORT fuses."""
        ratio = self.op("Div", f"{scope}.gelu.ratio", source, "sqrt_2")
        curve = self.op("Erf", f"{scope}.gelu.erf", ratio)
        raised = self.op("Add", f"{scope}.gelu.raised", curve, "one")
        product = self.op("Mul", f"{scope}.gelu.product", source, raised)
        return self.op("Mul", f"{scope}.gelu.out", product, "half")

    def _pool(self) -> None:
        """Mean over the tokens, padding left out, then L2 (Reimers & Gurevych 2019, 3)."""
        column = self.op("Unsqueeze", "mask.column", "mask", "axis_2")
        kept = self.op("Mul", "pool.kept", "last_hidden_state", column)
        total = self.op("ReduceSum", "pool.sum", kept, "axis_1", keepdims=0)
        count = self.op("ReduceSum", "pool.count", "mask", "axis_1", keepdims=1)
        safe = self.op("Max", "pool.count_safe", count, "one")
        mean = self.op("Div", "pool.mean", total, safe)
        length = self.op("ReduceL2", "pool.length", mean, axes=(1,), keepdims=1)
        safe_length = self.op("Max", "pool.length_safe", length, "tiny")
        self.op("Div", "sentence_embedding", mean, safe_length)


class PaddedBuilder(Builder):
    """Computes padding along: every shape follows from those of the inputs."""

    metadata: dict[str, str] = {}

    def pack(self, flat: str) -> str:
        """Keep padding."""
        return flat

    def spread(self, packed: str) -> str:
        """Nothing was left out."""
        return packed

    def _indices(self) -> None:
        pass

    def _embeddings(self) -> str:
        scope = "embeddings"
        words = self.op("Gather", "words", self.weight(_ANCHOR), "input_ids", axis=0)
        types = self.weight(f"{scope}.token_type_embeddings.weight")
        kinds = self.op("Gather", "kinds", types, "token_type_ids", axis=0)
        positions = self.weight(f"{scope}.position_embeddings.weight")
        places = self.op("Slice", "places", positions, "axis_0", "token_count", "axis_0")
        both = self.op("Add", "words_kinds", words, kinds)
        total = self.op("Add", "embedded", both, places)
        flat = self.op("Reshape", "embedded.flat", total, "flat_shape")
        return self.norm(f"{scope}.LayerNorm", flat)
