"""An embedding model on ONNX Runtime, the only importer of it and of tokenizers.

Refuses to run anywhere but on the device it was made for: ONNX Runtime falls back to the CPU
in silence, so the session is asked what it got.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

from stackctl.errors import Failed

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# A tokenizer reads all of a text before it cuts; no window of tokens needs more characters.
_MAX_CHARACTERS = 1 << 16

FloatArray = npt.NDArray[np.float32]


class DeviceUnusable(Failed):
    """The device cannot run the model; another one may."""


class Tokens(NamedTuple):
    """A text as the model reads it."""

    ids: list[int]
    truncated: bool


class Session:
    """One model on one device."""

    def __init__(self, graph: str, tokenizer: str, *, kind: str, threads: int, max_tokens: int):
        self._tokenizer = Tokenizer.from_file(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Shapes differ from batch to batch: a memory plan for each would only grow.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = _PROVIDERS[kind]
        if kind == "cuda":
            ort.preload_dlls()  # the CUDA libraries of the nvidia-* packages, when installed
        try:
            self._session = ort.InferenceSession(
                graph, options, providers=list(dict.fromkeys([wanted, _PROVIDERS["cpu"]]))
            )
        except Exception as err:  # ORT's own exceptions share no base class
            raise Failed(f"ONNX Runtime cannot open {graph}: {err}") from err
        got = self._session.get_providers()
        if got[0] != wanted:
            raise DeviceUnusable(
                f"asked ONNX Runtime for {wanted}, it gave {', '.join(got)}",
                hint="stackctl doctor",
            )
        self.execution_provider: str = got[0]
        self._inputs = {item.name for item in self._session.get_inputs()}
        outputs = [item.name for item in self._session.get_outputs()]
        self._pooled = "sentence_embedding" in outputs
        self._output = "sentence_embedding" if self._pooled else outputs[0]

    def tokenize(self, texts: list[str]) -> list[Tokens]:
        """Turn texts into token ids, cut to the model's window."""
        cut = [text[:_MAX_CHARACTERS] for text in texts]
        return [
            Tokens(encoding.ids, bool(encoding.overflowing) or len(text) > _MAX_CHARACTERS)
            for text, encoding in zip(texts, self._tokenizer.encode_batch(cut), strict=True)
        ]

    def embed(self, batch: list[list[int]]) -> FloatArray:
        """Give ``(batch, dimensions)`` float32, L2-normalised rows.

        Raises:
            Failed: the model did not give finite numbers.
        """
        width = max(map(len, batch))
        ids = np.zeros((len(batch), width), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        kept: dict[str, Any] = {name: feed[name] for name in self._inputs if name in feed}
        made = cast("FloatArray", self._session.run([self._output], kept)[0])
        vectors: FloatArray = made.astype("<f4", copy=False)
        if not self._pooled and vectors.ndim == 3:
            vectors = _pool(vectors, mask)
        if not np.isfinite(vectors).all():
            raise Failed("the model gave numbers that are not finite")
        return vectors


def _pool(hidden: FloatArray, mask: npt.NDArray[np.int64]) -> FloatArray:
    """Mean over the tokens, then L2, for graphs that do neither."""
    column = mask[:, :, None].astype(np.float32)
    mean = (hidden * column).sum(1) / np.maximum(column.sum(1), 1)
    length = np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    pooled: FloatArray = (mean / length).astype("<f4", copy=False)
    return pooled
