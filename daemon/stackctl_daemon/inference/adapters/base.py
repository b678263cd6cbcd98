"""A model as whoever drives it sees it; refuses to know what drives it.

No import of a server, of the worker or of its protocol: the same object runs in our worker, in
a test and in another scheduler's replica.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from stackctl.errors import Invalid
from stackctl_daemon.inference.providers import Profile

FloatArray = npt.NDArray[np.float32]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a catalogue entry says of a model, with its files on this disk."""

    name: str
    directory: Path
    graph: Path | None = None
    """ONNX graph; None where the adapter opens files of the directory itself."""
    tokenizer: Path | None = None
    max_tokens: int = 0
    dimensions: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    """The adapter's own: labels, sizes, names of outputs."""

    def file(self, option: str, default: str) -> Path:
        """Give the path of the file that an option names."""
        return self.directory / str(self.options.get(option, default))


class Input(NamedTuple):
    """One input of a request: a text, bytes (an image, a sound, a file) or named tensors."""

    text: str | None = None
    data: bytes | None = None
    tensors: Mapping[str, Array] | None = None


class Unit(NamedTuple):
    """One input made ready: what batches are made of."""

    cost: int
    """Length in what a batch's budget is counted in: tokens, or 1 for inputs of one size."""
    payload: Any
    """The adapter's own."""
    tokens: int = 0
    truncated: bool = False


class Result(NamedTuple):
    """What one input gave."""

    value: Any = None
    """Of plain types: None, bool, int, float, str, list, dict."""
    tensors: Mapping[str, Array] | None = None


class Session(Protocol):
    """A graph opened on the device."""

    execution_provider: str
    inputs: Mapping[str, tuple[str, list[int | str | None]]]
    """ONNX type (``tensor(float)``) and shape by name."""
    outputs: Sequence[str]
    metadata: Mapping[str, str]
    """What its maker wrote into the file, by name."""

    def run(self, outputs: Sequence[str] | None, feed: Mapping[str, Array]) -> list[Array]:
        """Compute; None asks for every output.

        Raises:
            Failed: ONNX Runtime could not.
        """
        ...


class OpenSession(Protocol):
    """Opens a graph on the worker's device."""

    def __call__(
        self,
        graph: Path,
        *,
        outputs: Sequence[str] | None = None,
        profiles: Mapping[str, Profile] | None = None,
    ) -> Session:
        """Open it.

        Args:
            graph: an ONNX file.
            outputs: values inside the graph to give as well (taps).
            profiles: smallest, usual and largest shape of each input, for devices that compile
                for shapes.

        Raises:
            Failed: it is not a graph that ONNX Runtime can open.
            DeviceUnusable: the device cannot run it.
        """
        ...


class Adapter(ABC):
    """A loaded model. Closing is dropping it: it holds memory and nothing else."""

    rows: int = 0
    """Above 0: `compute` gives an array ``(count, rows)`` float32 instead of results."""
    packed: bool = False
    """Its graph leaves padding out: a batch costs what its tokens do (`batching.batch_cost`)."""
    streams: bool = False
    """`stream` gives results in pieces."""
    stepwise: bool = False
    """One input may take minutes: it is run by `stream`, whoever asks, so that others get their
    turn between pieces and the worker is heard of."""
    sample_options: Mapping[str, Any] = {}
    """Options without which it takes no input: what a calibration asks with."""

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        self.spec = spec

    @property
    @abstractmethod
    def execution_provider(self) -> str:
        """What ONNX Runtime really runs it on, or ``numpy`` where no graph is run."""

    @abstractmethod
    def prepare(self, inputs: Sequence[Input], options: Mapping[str, Any]) -> list[Unit]:
        """Make inputs ready, one unit each.

        Raises:
            Invalid: an input or an option does not suit the model.
        """

    def width(self, options: Mapping[str, Any]) -> int:
        """Give the length of the rows that a request with these options gets; see `rows`."""
        return self.rows

    @abstractmethod
    def compute(self, units: Sequence[Unit]) -> Sequence[Result] | FloatArray | list[FloatArray]:
        """Run one batch; results in the order of the units, or rows where there are `rows`.

        Replicas are threads that call it at once: what it keeps between calls must stand that.

        Raises:
            Failed: the model could not.
        """

    def stream(self, unit: Unit) -> Iterator[Any]:
        """Run one unit in pieces: values as they come about, the whole `Result` last."""
        raise Invalid(f'model "{self.spec.name}" does not stream')

    def budget(self, batch_tokens: int) -> int:
        """Give the padded cost that a batch may have; by default that of inputs of one size."""
        return max(1, int(self.spec.options.get("batch", 1)))


class Decoding(Adapter):
    """Reads files that take a while to be made ready: it is done in steps, beside a worker's
    other work. Only of bytes: texts are ready at once."""

    @abstractmethod
    def preparing(
        self, inputs: Sequence[Input], options: Mapping[str, Any]
    ) -> Iterator[Unit | None]:
        """Make inputs ready: a unit for each in order, None after a step that ended none.

        A step takes a millisecond where it can: between two, others have their turn, and nobody
        goes on for whoever has left. One thread at a time runs it, not always the same.

        Raises:
            Invalid: as `prepare`.
        """

    def prepare(self, inputs: Sequence[Input], options: Mapping[str, Any]) -> list[Unit]:
        """Make inputs ready, one unit each; raises as `preparing`."""
        return [unit for unit in self.preparing(inputs, options) if unit is not None]


class Texts:
    """Mixin of adapters that read texts."""

    spec: ModelSpec

    def texts(self, inputs: Sequence[Input]) -> list[str]:
        """Give the texts.

        Raises:
            Invalid: an input is none.
        """
        found = [item.text for item in inputs if item.text is not None]
        if len(found) != len(inputs):
            raise Invalid(f'model "{self.spec.name}" reads text')
        return found


class Blobs:
    """Mixin of adapters that read bytes."""

    spec: ModelSpec
    reads = "bytes"

    def blobs(self, inputs: Sequence[Input]) -> list[bytes]:
        """Give the bytes.

        Raises:
            Invalid: an input is none, or empty.
        """
        found = [item.data for item in inputs if item.data]
        if len(found) != len(inputs):
            raise Invalid(f'model "{self.spec.name}" reads {self.reads}')
        return found


def packs(session: Session) -> bool:
    """Tell whether a graph leaves padding out, as those that we build do."""
    return session.metadata.get("packed") == "1"


Factory = Callable[[ModelSpec, OpenSession], Adapter]
