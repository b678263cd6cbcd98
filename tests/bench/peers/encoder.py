"""The model as plain user code: what the raw loop and the servers that run user code share.

Runs in other environments than ours, so it imports no module of this repository. The session
has the options that our worker gives its own.
"""

from __future__ import annotations

import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread for everyone

from typing import Any

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer


class Encoder:
    """MiniLM on one thread of ONNX Runtime."""

    def __init__(self, graph: str, tokenizer: str, window: int = 256) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(window)

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """Give token ids; one text does without the machinery of a batch."""
        if len(texts) == 1:
            return [self._tokenizer.encode(texts[0]).ids]
        return [found.ids for found in self._tokenizer.encode_batch(texts)]

    def compute(self, rows: list[list[int]]) -> Any:
        """Give ``(count, 384)`` float32 of token ids."""
        width = max(map(len, rows))
        ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        names = {item.name for item in self._session.get_inputs()}
        kept = {name: value for name, value in feed.items() if name in names}
        return self._session.run(["sentence_embedding"], kept)[0]

    def embed(self, texts: list[str]) -> Any:
        """Give ``(count, 384)`` float32 of texts."""
        return self.compute(self.tokens(texts))
