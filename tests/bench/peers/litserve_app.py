"""LitServe's side: arguments are graph, tokenizer, port and core.

As its documentation has it for embedding: ``max_batch_size`` with a short ``batch_timeout``, one
worker, ``batch`` and ``unbatch`` left as they are for lists. The worker pins itself to the core
that our own worker has; the HTTP process runs where the client does.
"""

import base64
import os
import sys
from typing import Any

import litserve
from encoder import Encoder


class Embedding(litserve.LitAPI):  # type: ignore[misc,no-any-unimported]
    def __init__(self, graph: str, tokenizer: str, core: int) -> None:
        super().__init__(max_batch_size=16, batch_timeout=0.001, api_path="/embed")
        self._given = graph, tokenizer, core

    def setup(self, device: str) -> None:
        graph, tokenizer, core = self._given
        os.sched_setaffinity(0, {core})
        self._encoder = Encoder(graph, tokenizer)

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return str(request["text"])

    def batch(self, inputs: list[str]) -> list[str]:
        return list(inputs)

    def predict(self, texts: list[str]) -> Any:
        return self._encoder.embed(texts)

    def unbatch(self, output: Any) -> Any:
        return list(output)

    def encode_response(self, output):  # type: ignore[no-untyped-def]
        return {"embedding": base64.b64encode(output.tobytes()).decode()}


if __name__ == "__main__":
    api = Embedding(sys.argv[1], sys.argv[2], int(sys.argv[4]))
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[3]), generate_client_file=False,
               log_level="warning", access_log=False)  # fmt: skip
