"""Late interaction: documents ranked by token vectors; refuses to rank without a query.

Source: ColBERT, Khattab & Zaharia 2020, section 3.3: every token of the query takes its most
similar token of the document (MaxSim over L2-normalised vectors), and the document's
punctuation is left out (3.2). Here the sum is divided by the number of the query's tokens, so
that a score is a mean cosine and comparable between queries. An encoder that was not trained
for it has no ``[Q]`` and ``[D]`` markers and no padding by ``[MASK]``; what its tokenizer puts
around a text (``[CLS]``, ``[SEP]``) is read by the encoder and left out of the comparison.
"""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import (
    Adapter,
    FloatArray,
    Input,
    ModelSpec,
    OpenSession,
    Result,
    Texts,
    Unit,
    packs,
)
from stackctl_daemon.inference.adapters.option import check_known, read_query
from stackctl_daemon.inference.adapters.tokenizer import MarkedTokens, Tokenizer

_QUERIES = 16
"""Queries whose vectors are kept: at most 6 MiB at 256 tokens of 384 numbers."""


class _Document(NamedTuple):
    query: str
    ids: list[int]
    kept: npt.NDArray[np.bool_]


class LateInteraction(Texts, Adapter):
    """Documents to scores: ``{"score": mean cosine, -1 to 1}``.

    Options of an entry: ``output``, the graph's token vectors. Options of a request: ``query``;
    the inputs are the documents.
    """

    sample_options = {"query": "how is a signal handled"}

    def __init__(self, spec: ModelSpec, open_session: OpenSession) -> None:
        super().__init__(spec, open_session)
        if spec.tokenizer is None or spec.graph is None:
            raise Failed(f'model "{spec.name}" has no tokenizer.json or no graph')
        self._tokenizer = Tokenizer(spec.tokenizer, spec.max_tokens)
        self._session = open_session(spec.graph)
        self.packed = packs(self._session)
        self._output = str(spec.options.get("output", "last_hidden_state"))
        if self._output not in self._session.outputs:
            raise Failed(
                f'model "{spec.name}" has no output "{self._output}",'
                f" it has {', '.join(self._session.outputs)}"
            )
        self._queries: OrderedDict[str, FloatArray] = OrderedDict()
        self._punctuation: dict[int, bool] = {}

    @property
    def execution_provider(self) -> str:
        """What ONNX Runtime runs it on."""
        return self._session.execution_provider

    def prepare(self, inputs: Sequence[Input], options: Mapping[str, Any]) -> list[Unit]:
        """Turn documents into token ids, cut to the model's window."""
        check_known(self.spec.name, options, ("query",))
        query = read_query(self.spec.name, options)
        units = []
        for tokens in self._tokenizer.encode_marked(self.texts(inputs)):
            document = _Document(query, tokens.ids, self._kept(tokens))
            units.append(Unit(len(tokens.ids), document, len(tokens.ids), tokens.truncated))
        return units

    def compute(self, units: Sequence[Unit]) -> list[Result]:
        """Give scores.

        Raises:
            Failed: the model did not give finite numbers.
        """
        queries = {q: self._query(q) for q in {unit.payload.query for unit in units}}
        vectors = self._vectors([unit.payload.ids for unit in units])
        results = []
        for found, unit in zip(vectors, units, strict=True):
            document: _Document = unit.payload
            tokens = found[: len(document.ids)][document.kept]
            results.append(Result({"score": max_sim(queries[document.query], tokens)}))
        return results

    def budget(self, batch_tokens: int) -> int:
        """Give the padded tokens of a batch."""
        return batch_tokens

    def _kept(self, tokens: MarkedTokens) -> npt.NDArray[np.bool_]:
        pairs = zip(tokens.ids, tokens.own, strict=True)
        return np.array([own and not self._is_punctuation(i) for i, own in pairs], np.bool_)

    def _is_punctuation(self, number: int) -> bool:
        known = self._punctuation.get(number)
        if known is None:
            token = self._tokenizer.token(number).removeprefix("##")
            known = bool(token) and all(unicodedata.category(c)[0] == "P" for c in token)
            self._punctuation[number] = known
        return known

    def _query(self, query: str) -> FloatArray:
        """Give a query's token vectors, all but the special ones."""
        found = self._queries.pop(query, None)
        if found is None:
            [tokens] = self._tokenizer.encode_marked([query])
            [vectors] = self._vectors([tokens.ids])
            found = vectors[np.array(tokens.own, np.bool_)]
        self._queries[query] = found
        while len(self._queries) > _QUERIES:
            self._queries.popitem(last=False)
        return found

    def _vectors(self, batch: Sequence[list[int]]) -> FloatArray:
        width = max(map(len, batch))
        ids = np.zeros((len(batch), width), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        kept = {name: feed[name] for name in self._session.inputs if name in feed}
        [found] = self._session.run([self._output], kept)
        vectors: FloatArray = found.astype(np.float32, copy=False)
        if not np.isfinite(vectors).all():
            raise Failed(f'model "{self.spec.name}" gave numbers that are not finite')
        lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
        normal: FloatArray = vectors / np.maximum(lengths, 1e-12)
        return normal


def max_sim(query: FloatArray, document: FloatArray) -> float:
    """Give the mean over the query's tokens of the best cosine among the document's.

    Args:
        query: ``(tokens, width)`` float32, L2-normalised.
        document: ``(tokens, width)`` float32, L2-normalised.

    Returns:
        -1 to 1; 0 where one of them has no tokens.
    """
    if not len(query) or not len(document):
        return 0.0
    return float((query @ document.T).max(1).mean())
