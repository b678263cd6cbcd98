"""BentoML's side: a service with adaptive batching (``batchable``), one worker.

Graph and tokenizer come from the environment, since ``bentoml serve`` imports this file. Its
HTTP side and its model live in one process, so it is left on every core.
"""

from __future__ import annotations

import base64
import os

import bentoml
from encoder import Encoder


@bentoml.service(  # type: ignore[misc,untyped-decorator]
    workers=1, traffic={"timeout": 60, "max_concurrency": 256}, metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)  # fmt: skip
class Embedding:
    def __init__(self) -> None:
        self._encoder = Encoder(os.environ["BENCH_GRAPH"], os.environ["BENCH_TOKENIZER"])

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=60_000)  # type: ignore[misc,untyped-decorator]
    def embed(self, texts: list[str]) -> list[str]:
        rows = self._encoder.embed(texts)
        return [base64.b64encode(row.tobytes()).decode() for row in rows]
