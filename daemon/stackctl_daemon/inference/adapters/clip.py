"""Pictures and texts as vectors of one space; refuses to compare them.

Two graphs (``vision``, ``text``: CLIP and SigLIP exports) or one with both inputs (``joint``).
Options, beside those of `image_input`:

``vision``, ``text``
    Files of the two graphs, ``vision_model.onnx`` and ``text_model.onnx``.
``joint``
    File of a graph that does both, instead; the side that is not asked for gets a blank input.
``image_output``, ``text_output``
    Names of the outputs; left out, ``image_embeds`` or ``text_embeds``, else ``pooler_output``,
    else the first.
``pad_id``, ``pad``
    Token that fills a text to the model's window, 0; ``pad = false`` fills to the longest text
    of the batch instead, for graphs that take other lengths.
``batch``
    Inputs that are computed at once.

Source: Radford et al. 2021 (CLIP: 77 tokens, the vector at the last one) and Zhai et al. 2023
(SigLIP: 64 tokens, no mask). The model's window is ``max_tokens`` of its entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.base import (
    Array,
    Decoding,
    FloatArray,
    Input,
    ModelSpec,
    OpenSession,
    Session,
    Unit,
)
from stackctl_daemon.inference.adapters.image import Pixels, image_bytes
from stackctl_daemon.inference.adapters.image_input import ImageInput
from stackctl_daemon.inference.adapters.image_models import unit_rows
from stackctl_daemon.inference.adapters.option import check_known
from stackctl_daemon.inference.adapters.tokenizer import Tokenizer

_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_PIXELS, _IDS, _MASK = "pixel_values", "input_ids", "attention_mask"


class Clip(Decoding):
    """Texts or pictures to L2-normalised rows of float32 that compare by their dot product."""

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        tokenizer = spec.tokenizer or spec.file("tokenizer", "tokenizer.json")
        if spec.max_tokens < 1 or spec.dimensions < 1:
            raise Failed(
                f'model "{spec.name}": max_tokens = {spec.max_tokens}, dimensions ='
                f" {spec.dimensions}, expected its window (CLIP: 77) and the length of its vectors"
            )
        self._tokenizer = Tokenizer(tokenizer, spec.max_tokens)
        self._input = ImageInput(spec.options, spec.name)
        self._joint = "joint" in spec.options
        if self._joint:
            self._vision = self._text = open_session(spec.file("joint", ""))
        else:
            self._vision = open_session(spec.file("vision", "vision_model.onnx"))
            self._text = open_session(spec.file("text", "text_model.onnx"))
        for session, name in ((self._vision, _PIXELS), (self._text, _IDS)):
            if name not in session.inputs:
                raise Failed(
                    f'model "{spec.name}" has no input "{name}", it has'
                    f" {', '.join(session.inputs)}"
                )
        self._image_output = self._output(self._vision, "image")
        self._text_output = self._output(self._text, "text")
        self._pad_id = int(spec.options.get("pad_id", 0))
        self._pad = bool(spec.options.get("pad", True))
        self.rows = spec.dimensions

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs its pictures on."""
        return self._vision.execution_provider

    def preparing(
        self, inputs: Sequence[Input], options: Mapping[str, Any]
    ) -> Iterator[Unit | None]:
        """Tokenise texts, decode and resize pictures.

        Raises:
            Invalid: an input is neither a text nor a picture, or there is an option.
        """
        check_known(self.spec.name, options, ())
        if any(item.tensors is not None for item in inputs):
            raise Invalid(
                f'model "{self.spec.name}" reads texts and pictures, not tensors',
                hint=f'stackctl models run {self.spec.name} "a red bicycle"',
            )
        texts = [item.text for item in inputs if item.text is not None]
        tokens = iter(self._tokenizer.encode(texts) if texts else [])
        for index, item in enumerate(inputs):
            if item.text is not None:
                found = next(tokens)
                yield Unit(1, list(found.ids), len(found.ids), found.truncated)
            else:
                [data] = image_bytes([item], self.spec.name)
                yield Unit(1, self._input.read(data, f"input {index}"))

    def compute(self, units: Sequence[Unit]) -> list[FloatArray]:
        """Give ``(dimensions,)`` float32 of length 1 for each input.

        Raises:
            Failed: the model gave something else.
        """
        rows: dict[int, FloatArray] = {}
        for texts in (True, False):
            chosen = [i for i, unit in enumerate(units) if isinstance(unit.payload, list) == texts]
            if chosen:
                payloads = [units[i].payload for i in chosen]
                found = self._texts(payloads) if texts else self._images(payloads)
                rows.update(zip(chosen, unit_rows(found, self.spec), strict=True))
        return [rows[index] for index in range(len(units))]

    def _images(self, images: Sequence[Pixels]) -> Array:
        feed = {_PIXELS: self._input.feed(self._vision, _PIXELS, images)}
        if self._joint:
            feed |= self._ids([[self._pad_id]])
        [found] = self._vision.run([self._image_output], feed)
        return found

    def _texts(self, texts: Sequence[Sequence[int]]) -> Array:
        feed = self._ids(texts)
        if self._joint:
            feed[_PIXELS] = self._input.feed(self._text, _PIXELS, [self._input.blank])
        [found] = self._text.run([self._text_output], feed)
        return found

    def _ids(self, texts: Sequence[Sequence[int]]) -> dict[str, Array]:
        width = self.spec.max_tokens if self._pad else max(1, *map(len, texts))
        ids = np.full((len(texts), width), self._pad_id, np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        feed = {}
        for name, values in ((_IDS, ids), (_MASK, mask)):
            if name in self._text.inputs:
                kind = self._text.inputs[name][0]
                if kind not in _DTYPES:
                    raise Failed(
                        f'model "{self.spec.name}": input "{name}" is {kind}, expected one of'
                        f" {', '.join(_DTYPES)}"
                    )
                feed[name] = values.astype(_DTYPES[kind], copy=False)
        return feed

    def _output(self, session: Session, side: str) -> str:
        wanted = self.spec.options.get(f"{side}_output")
        if wanted is not None and wanted not in session.outputs:
            raise Failed(
                f'model "{self.spec.name}" has no output "{wanted}", it has'
                f" {', '.join(session.outputs)}"
            )
        likely = [wanted, f"{side}_embeds", "pooler_output", *session.outputs]
        return next(str(name) for name in likely if name in session.outputs)
