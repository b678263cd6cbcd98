"""Layers of Whisper's graphs over CTranslate2's weights; refuses to know how they are stacked.

Source: `whisper/model.py` of openai-whisper for the order of operations, `ctranslate2/specs` for
names and for packed weights.
"""

from __future__ import annotations

from stackctl.errors import Invalid
from stackctl_daemon.models import onnx_wire as wire
from stackctl_daemon.models.ctranslate2_file import CTranslate2File
from stackctl_daemon.models.safetensors import TensorSlice

_OPSET = 17
_DTYPES = {"F32": wire.FLOAT, "F16": wire.FLOAT16, "BF16": wire.BFLOAT16}
PACKED = {"I8": wire.INT8, "I16": wire.INT16}
"""Weights that were multiplied by a scale and rounded: ``ModelSpec._quantize`` of CTranslate2."""
_EPSILON = 1e-5


class Layers:
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
        """Add a node."""
        self.nodes.append(wire.node(kind, inputs, [output], **attributes))
        return output

    def ints(self, name: str, *values: int) -> str:
        """Add whole numbers."""
        self.initializers.append(wire.int64_tensor(name, values))
        return name

    def scalar(self, name: str, value: float) -> str:
        """Add a number."""
        self.initializers.append(wire.float_scalar(name, value))
        return name

    def find(self, name: str) -> TensorSlice:
        """Give the place of a weight.

        Raises:
            Invalid: it is missing, or of a type that we do not read.
        """
        found = self.tensors.get(name)
        packed = found is not None and found.dtype in PACKED and f"{name}_scale" in self.tensors
        if found is None or not (packed or found.dtype in _DTYPES):
            got = f"of {found.dtype}" if found else "missing"
            raise Invalid(f"{self.file}: {name} is {got}, expected {', '.join(_DTYPES)}")
        return found

    def shape(self, name: str) -> tuple[int, ...]:
        """Give the shape of a weight."""
        return self.find(name).shape

    def count(self, side: str) -> int:
        """Give the number of layers of the encoder or the decoder."""
        number = 0
        while f"{side}/layer_{number}/ffn/linear_0/weight" in self.tensors:
            number += 1
        if not number:
            raise Invalid(f"{self.file} has no {side}/layer_0")
        return number

    def stored(self, name: str) -> tuple[str, int]:
        """Give a weight as it is stored, with its type."""
        found = self.find(name)
        kind = (_DTYPES | PACKED)[found.dtype]
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
        """Give a weight as float32."""
        stored, kind = self.stored(name)
        if kind == wire.FLOAT:
            return stored
        wide = self.widen(f"{name}.f32", stored)
        if kind not in PACKED.values():
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
        """Make float32 of it."""
        return self.op("Cast", output, source, to=wire.FLOAT)

    def linear(self, scope: str, source: str) -> str:
        """Matrix and bias."""
        weight, bias = self.weight(f"{scope}/weight"), self.weight(f"{scope}/bias")
        return self.op("Gemm", f"{scope}.out", source, weight, bias, transB=1)

    def norm(self, scope: str, source: str) -> str:
        """Layer normalisation."""
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
        """The two matrices of a layer, with the sum around them."""
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
        """Split into heads, the axes in an order."""
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
        """Give the ModelProto."""
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
