"""Poison texts: set aside alone, and never mistaken for a model that refuses everything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from fakes.embedder import HashingEmbedder

from stackctl.errors import Failed, ModelCorrupt, Overloaded, StackctlError, WorkerCrashed
from stackctl_daemon.search.embedding import PatientEmbedder, Vectors


class Poisoned(HashingEmbedder):
    """Refuses every call that holds one of some texts."""

    def __init__(self, poison: Sequence[str], *, names: bool = False) -> None:
        super().__init__(16)
        self.poison = set(poison)
        self.names = names
        self.calls = 0

    async def embed(self, texts: Any, *, model: Any, priority: Any) -> Any:
        self.calls += 1
        bad = [text for text in texts if text in self.poison]
        if bad:
            error = WorkerCrashed("3 workers died")
            error.text = bad[0] if self.names else ""
            raise error
        return await super().embed(texts, model=model, priority=priority)


def _embed(embedder: Any, texts: Sequence[str]) -> Vectors:
    return asyncio.run(PatientEmbedder(embedder, "default", lambda: None).embed(texts))


@pytest.mark.parametrize("names", [True, False])
def test_only_the_poison_is_refused_and_the_rest_keeps_its_place(names: bool) -> None:
    texts = [f"text {n}" for n in range(40)]
    embedder = Poisoned([texts[0], texts[17], texts[39]], names=names)

    found = _embed(embedder, texts)
    sound = _embed(HashingEmbedder(16), texts)

    assert sorted(found.refused) == [0, 17, 39]
    kept = [n for n in range(40) if n not in found.refused]
    assert (found.rows[kept] == sound.rows[kept]).all()
    assert not found.rows[17].any()


def test_a_named_culprit_costs_two_calls() -> None:
    embedder = Poisoned(["text 5"], names=True)
    _embed(embedder, [f"text {n}" for n in range(96)])

    assert embedder.calls == 3


def test_a_batch_of_poison_alone_has_no_rows_to_store() -> None:
    found = _embed(Poisoned(["a", "b"]), ["a", "b"])

    assert (sorted(found.refused), found.model) == ([0, 1], "")


@pytest.mark.parametrize(
    "error", [Failed("no device can compute"), WorkerCrashed("closed"), ModelCorrupt("sha256")]
)
def test_an_embedder_that_refuses_everything_blames_no_text(error: StackctlError) -> None:
    class Broken(HashingEmbedder):
        async def embed(self, texts: Any, *, model: Any, priority: Any) -> Any:
            raise error

    with pytest.raises(type(error)) as raised:
        _embed(Broken(16), ["a", "b", "c"])

    assert raised.value is error


def test_an_overloaded_embedder_is_asked_again() -> None:
    class Busy(HashingEmbedder):
        refusals = 3

        async def embed(self, texts: Any, *, model: Any, priority: Any) -> Any:
            if self.refusals:
                self.refusals -= 1
                raise Overloaded("full", retry_after_s=0.001)
            return await super().embed(texts, model=model, priority=priority)

    assert _embed(Busy(16), ["a"]).refused == {}
