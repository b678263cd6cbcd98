"""Any ONNX graph, asked with its own tensors; refuses to know what they mean.

Requests are computed together only where the entry says so (``batch``): a graph may mix what
stands side by side on its first axis, and nothing in it tells.
Source: Open Inference Protocol v2 (KServe), "Inference": named tensors in, named tensors out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.base import (
    Adapter,
    Array,
    Input,
    ModelSpec,
    OpenSession,
    Result,
    Unit,
)
from stackctl_daemon.inference.adapters.option import check_known, shown

_DTYPES = {
    "tensor(float16)": np.dtype(np.float16),
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(int16)": np.dtype(np.int16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(uint16)": np.dtype(np.uint16),
    "tensor(uint32)": np.dtype(np.uint32),
    "tensor(uint64)": np.dtype(np.uint64),
    "tensor(bool)": np.dtype(np.bool_),
}


class _Asked(NamedTuple):
    tensors: Mapping[str, Array]
    outputs: tuple[str, ...]
    rows: int
    """Size of the first axis, where requests can be computed together; else 0."""

    @property
    def kind(self) -> tuple[Any, ...]:
        """Requests of one kind differ in nothing but the first axis."""
        shapes = tuple(self.tensors[name].shape[1:] for name in sorted(self.tensors))
        return (self.outputs, shapes, bool(self.rows))


class TensorGraph(Adapter):
    """Named tensors to named tensors.

    Options of an entry: ``batch``, rows of the first axis that may be computed together, by
    default one request at a time; ``taps``, values inside the graph to give as well. Options of
    a request: ``outputs``, names of those wanted, by default all.
    """

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        if spec.graph is None:
            raise Failed(f'model "{spec.name}" has no graph')
        taps = [str(name) for name in spec.options.get("taps", [])]
        self._session = open_session(spec.graph, outputs=taps or None)
        for name, (kind, _) in self._session.inputs.items():
            if kind not in _DTYPES:
                raise Failed(f'input "{name}" of "{spec.name}" is {kind}, which has no wire form')
        shapes = [shape for _, shape in self._session.inputs.values()]
        free = all(shape and not isinstance(shape[0], int) for shape in shapes)
        self._batch = int(spec.options.get("batch", 1)) if shapes and free else 1

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs it on."""
        return self._session.execution_provider

    def prepare(self, inputs: Sequence[Input], options: Mapping[str, Any]) -> list[Unit]:
        """Check names, types and shapes against the graph's."""
        check_known(self.spec.name, options, ("outputs",))
        outputs = self._outputs(options.get("outputs"))
        units = []
        for index, item in enumerate(inputs):
            tensors = self._checked(item, index)
            heads = {tensor.shape[0] for tensor in tensors.values() if tensor.ndim}
            rows = heads.pop() if self._batch > 1 and len(heads) == 1 else 0
            units.append(Unit(max(1, rows), _Asked(tensors, outputs, rows)))
        return units

    def compute(self, units: Sequence[Unit]) -> list[Result]:
        """Give the outputs; requests of one kind go through the graph together."""
        kinds: dict[tuple[Any, ...], list[int]] = {}
        for index, unit in enumerate(units):
            kinds.setdefault(unit.payload.kind, []).append(index)
        results: list[Result] = [Result()] * len(units)
        for indices in kinds.values():
            group: list[_Asked] = [units[index].payload for index in indices]
            for index, tensors in zip(indices, self._run(group), strict=True):
                results[index] = Result(tensors=tensors)
        return results

    def budget(self, batch_tokens: int) -> int:
        """Give the rows of a batch."""
        return self._batch

    def _run(self, group: Sequence[_Asked]) -> list[dict[str, Array]]:
        outputs = list(group[0].outputs)
        if len(group) == 1 or not group[0].rows:
            return [self._named(outputs, asked.tensors) for asked in group]
        together = {
            name: np.concatenate([asked.tensors[name] for asked in group])
            for name in group[0].tensors
        }
        found = self._named(outputs, together)
        total = sum(asked.rows for asked in group)
        for name, value in found.items():
            if not value.ndim or value.shape[0] != total:
                raise Failed(
                    f'"{self.spec.name}" gave "{name}" of {list(value.shape)} for {total} rows;'
                    ' its entry says "batch", which such a graph cannot have'
                )
        ends = np.cumsum([asked.rows for asked in group])[:-1]
        parts = {name: np.split(value, ends) for name, value in found.items()}
        return [{name: parts[name][i] for name in outputs} for i in range(len(group))]

    def _named(self, outputs: list[str], feed: Mapping[str, Array]) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name, value in zip(outputs, self._session.run(outputs, feed), strict=True):
            # A sequence or a map, for which ONNX Runtime gives a list, has no dtype.
            if getattr(value, "dtype", None) not in _DTYPES.values():
                raise Failed(f'output "{name}" of "{self.spec.name}" has no wire form')
            found[name] = value
        return found

    def _outputs(self, asked: Any) -> tuple[str, ...]:
        known = self._session.outputs
        if asked is None:
            return tuple(known)
        if not isinstance(asked, list) or not asked:
            raise Invalid(
                f'option "outputs" is {shown(asked)}, expected a list of {", ".join(known)}'
            )
        for name in asked:
            if name not in known:
                raise Invalid(
                    f'"{self.spec.name}" has no output "{name}", expected {", ".join(known)}'
                )
        return tuple(dict.fromkeys(asked))

    def _checked(self, item: Input, index: int) -> dict[str, Array]:
        inputs = self._session.inputs
        if item.tensors is None:
            raise Invalid(f'model "{self.spec.name}" reads tensors: {", ".join(inputs)}')
        missing = [name for name in inputs if name not in item.tensors]
        strange = [name for name in item.tensors if name not in inputs]
        if missing or strange:
            what = f'lacks "{missing[0]}"' if missing else f'has "{strange[0]}"'
            raise Invalid(
                f'input {index} of "{self.spec.name}" {what}, expected {", ".join(inputs)}'
            )
        for name, (kind, shape) in inputs.items():
            tensor = item.tensors[name]
            wanted = _DTYPES[kind]
            if tensor.dtype != wanted:
                raise Invalid(
                    f'tensor "{name}" of input {index} is {tensor.dtype}, expected {wanted}'
                )
            fits = len(shape) == tensor.ndim and all(
                not isinstance(size, int) or size == found
                for size, found in zip(shape, tensor.shape, strict=True)
            )
            if not fits:
                expected = ", ".join(str(size) if size is not None else "?" for size in shape)
                raise Invalid(
                    f'tensor "{name}" of input {index} is {list(tensor.shape)},'
                    f" expected [{expected}]"
                )
        return dict(item.tensors)
