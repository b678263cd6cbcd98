"""Text models through real workers, against what their own packages or papers give.

``tests/data/*.json`` name the package, version and call that each reference came from.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.inline_jobs import InlineJobs
from inference_stack import CACHE, Sink, direct, model_service, sentences, with_service
from tokenizers import Tokenizer

from stackctl import paths
from stackctl.contracts.model import ModelEntry, ModelFile
from stackctl.errors import Invalid, ModelFetchFailed, NotFound
from stackctl.settings import ModelSettings
from stackctl_daemon.inference.adapters.base import Array, Input
from stackctl_daemon.inference.ask import Ask, Done
from stackctl_daemon.inference.service import InferenceService
from stackctl_daemon.models.catalogue import to_toml
from stackctl_daemon.models.service import ModelService

pytestmark = pytest.mark.model

DATA = Path(__file__).parents[1] / "data"
Fetch = Callable[[str], ModelService]


@pytest.fixture(scope="module")
def fetched() -> Fetch:
    """Fetches a model into the tests' cache; skips, with the reason, where no source has it."""

    def fetch(name: str) -> ModelService:
        async def get() -> ModelService:
            service = model_service()
            try:
                await service.ready(name)
            except NotFound:
                await service.pull(name)
            return service

        try:
            return asyncio.run(get())
        except ModelFetchFailed as err:
            pytest.skip(f"{name} cannot be fetched: {err}")

    return fetch


def reference(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return found


def texts(*found: str) -> list[Input]:
    return [Input(text=text) for text in found]


def test_static_vectors_are_those_of_the_models_own_package(fetched: Fetch) -> None:
    expected = reference("wordllama")

    async def body(service: InferenceService, sink: Sink) -> None:
        done = await service.embed_texts(expected["texts"], model="wordllama-256")

        np.testing.assert_allclose(done.vectors[:, :8], expected["vectors"], atol=2e-6)
        similar = done.vectors @ done.vectors[0]
        np.testing.assert_allclose(similar, expected["similarity_0"], atol=2e-6)
        assert done.execution_provider == "numpy"
        cut = await service.embed_texts(
            expected["texts"][:1], model="wordllama", ask=Ask(options={"dimensions": 64})
        )
        assert cut.vectors.shape == (1, 64)
        np.testing.assert_allclose(cut.vectors[0, :8], expected["cut_64"], atol=2e-6)

    with_service(fetched("wordllama-256"), body)


def test_token_ids_of_many_lengths_give_the_vectors_of_their_texts(store: ModelService) -> None:
    given = sentences(12)
    expected = direct(store, given)
    library = Tokenizer.from_file(str(asyncio.run(store.ready("default")).tokenizer))
    library.no_padding()
    ids = [np.array(e.ids, np.int64) for e in library.encode_batch(given)]

    async def body(service: InferenceService, sink: Sink) -> None:
        done = await service.run([Input(tensors={"input_ids": row}) for row in ids])

        rows = [(result.tensors or {})["embedding"] for result in done.results]
        np.testing.assert_allclose(rows, expected, atol=2e-5)
        with pytest.raises(Invalid, match="was not trained to be cut to 128, expected 384"):
            await service.embed_texts(given, ask=Ask(options={"dimensions": 128}))
        with pytest.raises(Invalid, match="input 1 has 402 tokens, the window of"):
            long = [*given[:1], "word " * 400]
            await service.embed_texts(long, ask=Ask(options={"truncate": False}))

    with_service(store, body)


def test_int8_vectors_are_near_the_float32_ones(fetched: Fetch, store: ModelService) -> None:
    """The loss that its entry states, with room; measured by `bench_inference_int8`."""
    given = sentences(40)
    expected = direct(store, given)

    async def body(service: InferenceService, sink: Sink) -> None:
        done = await service.embed_texts(given, model="all-minilm-l6-v2-int8")

        cosines = (done.vectors * expected).sum(1)
        assert cosines.mean() > 0.985
        assert cosines.min() > 0.96
        assert (await service.entry("default")).name == "all-minilm-l6-v2"

    with_service(fetched("all-minilm-l6-v2-int8"), body)


QUERIES = {
    "How do I stop a process that does not react?": 2,
    "ingredients of a cake": 4,
    "ships entering the port in the morning": 1,
    "who discovered penicillin": 0,
    "weather in the mountains": 3,
}
DOCUMENTS = [
    "Penicillin was found by Alexander Fleming in 1928, in a dish that he had left open.",
    "At dawn three vessels passed the lighthouse and docked in the harbour.",
    "A program that hangs can be ended with kill -9, at the cost of what it had not saved.",
    "Above the tree line it snows in June, and fog comes within minutes.",
    "Mix flour, eggs, butter and sugar, and bake it for forty minutes.",
]


def test_each_query_ranks_its_own_document_first(fetched: Fetch) -> None:
    async def body(service: InferenceService, sink: Sink) -> None:
        for query, best in QUERIES.items():
            done = await service.run(
                texts(*DOCUMENTS),
                model="all-minilm-l6-v2-rerank",
                ask=Ask(options={"query": query}),
            )
            scores = [result.value["score"] for result in done.results]

            assert np.argmax(scores) == best, (query, scores)
            assert all(-1 <= score <= 1 for score in scores)
        with pytest.raises(Invalid, match='option "query" is null'):
            await service.run(texts("x"), model="all-minilm-l6-v2-rerank")

    with_service(fetched("all-minilm-l6-v2-rerank"), body)


def test_titles_are_those_of_the_models_own_code(fetched: Fetch) -> None:
    samples = reference("traceforge-title")["samples"]
    plain = {"repetition_penalty": 1.0, "no_repeat_ngram": 0, "max_new_tokens": 12}

    async def body(service: InferenceService, sink: Sink) -> None:
        name = "traceforge-title"
        given = texts(*(sample["text"] for sample in samples))

        done = await service.run(given, model=name)
        bare = await service.run(given, model=name, ask=Ask(options=plain))

        assert [r.value["text"] for r in done.results] == [s["title"] for s in samples]
        assert [r.value["text"] for r in bare.results] == [s["plain"] for s in samples]
        assert {r.value["finish_reason"] for r in done.results} == {"stop"}

    with_service(fetched("traceforge-title"), body)


def test_a_streamed_title_comes_in_pieces_and_is_the_same(fetched: Fetch) -> None:
    sample = reference("traceforge-title")["samples"][0]

    async def read(service: InferenceService, **options: Any) -> tuple[list[str], Any]:
        item = Input(text=sample["text"])
        pieces: list[str] = []
        ask = Ask(options=options)
        async for piece in service.stream(item, model="traceforge-title", ask=ask):
            if isinstance(piece, Done):
                return pieces, piece.results[0].value
            pieces.append(piece["text"])
        raise AssertionError("a stream without an end")

    async def body(service: InferenceService, sink: Sink) -> None:
        # Two at once: their steps take turns in one worker.
        first, second = await asyncio.gather(read(service), read(service, max_new_tokens=2))

        assert len(first[0]) >= 3
        assert "".join(first[0]) == first[1]["text"] == sample["title"]
        assert second[1]["finish_reason"] == "length"
        assert second[1]["tokens"] == 2
        assert sample["title"].startswith("".join(second[0]))

    with_service(fetched("traceforge-title"), body)


def graph_entry(directory: Path, store: ModelService) -> ModelService:
    """The default model's graph as one that is asked by its tensors."""
    ready = asyncio.run(store.ready("default"))
    names = ["model.safetensors", "tokenizer.json", "config.json"]
    files = [
        ModelFile(
            name=name,
            sha256=hashlib.sha256((ready.directory / name).read_bytes()).hexdigest(),
            size_bytes=(ready.directory / name).stat().st_size,
            sources=[f"file:{ready.directory / name}"],
        )
        for name in names
    ]
    entry = ModelEntry(
        name="minilm-tensors",
        task="tensor",
        summary="The default model by its tensors",
        licence="Apache-2.0",
        architecture="bert-safetensors",
        adapter="tensor-graph",
        files=files,
    )
    (directory / "catalogue").mkdir()
    (directory / "catalogue" / "tensors.toml").write_text(to_toml(entry), encoding="utf-8")
    catalogue = [paths.bundled("config") / "models", directory / "catalogue"]
    service = ModelService(ModelSettings(), catalogue, directory, CACHE, InlineJobs())
    asyncio.run(service.pull("minilm-tensors"))
    return service


def test_a_real_graph_answers_by_its_tensors(store: ModelService, tmp_path: Path) -> None:
    ids = np.array([[101, 7592, 2088, 102]], np.int64)  # [CLS] hello world [SEP]
    feed: dict[str, Array] = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    expected = direct(store, ["hello world"])

    async def body(service: InferenceService, sink: Sink) -> None:
        done = await service.run([Input(tensors=feed)] * 2, model="minilm-tensors")

        for result in done.results:
            tensors = result.tensors or {}
            assert tensors["last_hidden_state"].shape == (1, 4, 384)
            np.testing.assert_allclose(tensors["sentence_embedding"], expected, atol=2e-5)
        wrong = {**feed, "input_ids": ids.astype(np.int32)}
        with pytest.raises(Invalid, match="int32, expected int64"):
            await service.run([Input(tensors=wrong)], model="minilm-tensors")

    with_service(graph_entry(tmp_path, store), body)
