"""What kind of file some bytes are, by Magika's model; refuses to look at names.

Options: ``config`` and ``types``, the files that hold the model's sizes, thresholds and labels,
and what is known of each label.

Source: Fratantonio et al. 2024, "Magika: AI-Powered Content-Type Detection", and the package
``magika`` 1.0.3 for the rules around the model: the stripped ends of the file go in, few bytes
are decided by whether they are UTF-8, and a score below the label's threshold gives ``txt`` or
``unknown``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.base import (
    Adapter,
    Input,
    ModelSpec,
    OpenSession,
    Result,
    Unit,
)
from stackctl_daemon.inference.adapters.option import check_known


class _Config(msgspec.Struct, frozen=True):
    beg_size: int
    end_size: int
    block_size: int
    padding_token: int
    min_file_size_for_dl: int
    medium_confidence_threshold: float
    target_labels_space: list[str]
    thresholds: dict[str, float]
    overwrite_map: dict[str, str]
    mid_size: int = 0
    use_inputs_at_offsets: bool = False


class _Type(msgspec.Struct, frozen=True):
    is_text: bool
    mime_type: str | None = None
    group: str | None = None
    description: str | None = None


class FileType(Adapter):
    """Bytes to ``{"label", "mime", "group", "description", "text", "score"}``."""

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        if spec.graph is None:
            raise Failed(f'model "{spec.name}" has no graph, expected architecture = "onnx"')
        self._config = _read(spec.file("config", "config.min.json"), _Config)
        self._types = _read(spec.file("types", "content_types_kb.min.json"), dict[str, _Type])
        if self._config.mid_size or self._config.use_inputs_at_offsets:
            raise Failed(
                f'model "{spec.name}" reads the middle of a file, expected a model of version 3:'
                " its two ends"
            )
        self._session = open_session(spec.graph)
        self._input = next(iter(self._session.inputs))

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs it on."""
        return self._session.execution_provider

    def prepare(self, inputs: Sequence[Input], options: Mapping[str, Any]) -> list[Unit]:
        """Take both ends of each file; a unit of few bytes is decided here.

        Raises:
            Invalid: an input is not bytes, or there is an option.
        """
        check_known(self.spec.name, options, ())
        return [Unit(1, self._features(item, index)) for index, item in enumerate(inputs)]

    def compute(self, units: Sequence[Unit]) -> list[Result]:
        """Name the types.

        Raises:
            Failed: the model does not give one score a label.
        """
        found = [unit.payload for unit in units]
        rows = [payload for payload in found if not isinstance(payload, str)]
        scores = np.zeros((0, 0), np.float32)
        if rows:
            [scores] = self._session.run(None, {self._input: np.stack(rows)})
            if scores.shape[1] != len(self._config.target_labels_space):
                raise Failed(
                    f'model "{self.spec.name}" gave {scores.shape[1]} scores, its config has'
                    f" {len(self._config.target_labels_space)} labels"
                )
        left = iter(scores)
        return [
            self._result(payload, 1.0) if isinstance(payload, str) else self._decide(next(left))
            for payload in found
        ]

    def budget(self, batch_tokens: int) -> int:
        """Give how many files are computed at once."""
        return int(self.spec.options.get("batch", 32))

    def _features(self, item: Input, index: int) -> str | npt.NDArray[np.int32]:
        """Give the model's input ``(beg_size + end_size,)``, or the label of few bytes."""
        if item.data is None:
            kind = "a text" if item.text is not None else "tensors"
            raise Invalid(
                f'model "{self.spec.name}": input {index} is {kind}, expected the bytes of a file',
                hint=f"stackctl models run {self.spec.name} FILE",
            )
        config, data = self._config, item.data
        if not data:
            return "empty"
        head = data[: config.block_size]
        begin = head.lstrip()[: config.beg_size]
        if min(len(data), len(begin)) < config.min_file_size_for_dl:
            return _few_bytes(head)
        end = data[-config.block_size :].rstrip()[-config.end_size :]
        row = np.full(config.beg_size + config.end_size, config.padding_token, np.int32)
        row[: len(begin)] = np.frombuffer(begin, np.uint8)
        row[len(row) - len(end) :] = np.frombuffer(end, np.uint8)
        return row

    def _decide(self, scores: npt.NDArray[np.float32]) -> Result:
        config = self._config
        best = int(scores.argmax())
        guess, score = config.target_labels_space[best], float(scores[best])
        label = config.overwrite_map.get(guess, guess)
        if score < config.thresholds.get(guess, config.medium_confidence_threshold):
            label = "txt" if self._type(label).is_text else "unknown"
        return self._result(label, score)

    def _result(self, label: str, score: float) -> Result:
        known = self._type(label)
        generic = "text/plain" if known.is_text else "application/octet-stream"
        return Result(
            {
                "label": label,
                "mime": known.mime_type or generic,
                "group": known.group or "unknown",
                "description": known.description or label,
                "text": known.is_text,
                "score": score,
            }
        )

    def _type(self, label: str) -> _Type:
        return self._types.get(label) or _Type(is_text=False)


def _few_bytes(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "unknown"
    return "txt"


def _read(file: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as err:
        raise Failed(f"{file} is not what it should be: {err}") from err
