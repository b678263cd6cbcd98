"""Cross-encoders: query and document read at once; refuses to rank without a query.

Source: Nogueira & Cho 2019 (a pair through BERT, relevance from a head of one or two numbers);
sentence-transformers' ``CrossEncoder.predict``: the longer text of a pair is cut to fit, and a
head of one number is scored by its sigmoid. Of two numbers (irrelevant, relevant) the logit is
their difference, whose sigmoid is the softmax of the second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import (
    Adapter,
    Input,
    ModelSpec,
    OpenSession,
    Result,
    Texts,
    Unit,
)
from stackctl_daemon.inference.adapters.option import check_known, read_query
from stackctl_daemon.inference.adapters.tokenizer import PairTokens, Tokenizer


class CrossEncoder(Texts, Adapter):
    """Documents to scores: ``{"score": 0 to 1, "logit": any number}``.

    Options of an entry: ``output``, the graph's logits. Options of a request: ``query``; the
    inputs are the documents.
    """

    sample_options = {"query": "how is a signal handled"}

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        if spec.tokenizer is None or spec.graph is None:
            raise Failed(f'model "{spec.name}" has no tokenizer.json or no graph')
        self._tokenizer = Tokenizer(spec.tokenizer, spec.max_tokens)
        self._session = open_session(spec.graph)
        self._output = str(spec.options.get("output", self._session.outputs[0]))
        if self._output not in self._session.outputs:
            raise Failed(
                f'model "{spec.name}" has no output "{self._output}",'
                f" it has {', '.join(self._session.outputs)}"
            )

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs it on."""
        return self._session.execution_provider

    def prepare(self, inputs: Sequence[Input], options: Mapping[str, Any]) -> list[Unit]:
        """Turn the query with each document into token ids, cut to the model's window."""
        check_known(self.spec.name, options, ("query",))
        query = read_query(self.spec.name, options)
        pairs = [(query, text) for text in self.texts(inputs)]
        return [
            Unit(len(pair.ids), pair, len(pair.ids), pair.truncated)
            for pair in self._tokenizer.encode_pairs(pairs)
        ]

    def compute(self, units: Sequence[Unit]) -> list[Result]:
        """Give scores.

        Raises:
            Failed: the model did not give finite numbers, or not one or two a pair.
        """
        width = max(unit.cost for unit in units)
        ids = np.zeros((len(units), width), np.int64)
        mask, kinds = np.zeros_like(ids), np.zeros_like(ids)
        for row, unit in enumerate(units):
            pair: PairTokens = unit.payload
            ids[row, : unit.cost] = pair.ids
            kinds[row, : unit.cost] = pair.kinds
            mask[row, : unit.cost] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
        kept = {name: feed[name] for name in self._session.inputs if name in feed}
        [found] = self._session.run([self._output], kept)
        if found.shape not in ((len(units), 1), (len(units), 2)):
            raise Failed(
                f'model "{self.spec.name}" gave {list(found.shape)} for {len(units)} pairs,'
                f" expected {[len(units), 1]} or {[len(units), 2]}"
            )
        if not np.isfinite(found).all():
            raise Failed(f'model "{self.spec.name}" gave numbers that are not finite')
        numbers = found.astype(np.float64)
        logits = numbers[:, 0] if numbers.shape[1] == 1 else numbers[:, 1] - numbers[:, 0]
        return [Result({"score": sigmoid(float(x)), "logit": float(x)}) for x in logits]

    def budget(self, batch_tokens: int) -> int:
        """Give the padded tokens of a batch."""
        return batch_tokens


def sigmoid(logit: float) -> float:
    """Give ``1 / (1 + exp(-logit))``, without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))
