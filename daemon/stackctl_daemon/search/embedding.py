"""Turns texts into vectors and sets aside those that cannot be; refuses to give up for one.

A text that ends every worker, or that the model refuses, is told from a model or device that
refuses everything by a harmless text: only when that one is embedded is the text to blame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from stackctl.errors import Failed, Invalid, Overloaded, StackctlError, TooLarge, WorkerCrashed
from stackctl_daemon.search.ports import Embedder
from stackctl_daemon.search.store import FloatArray

MAX_BACKOFF_S = 5.0
PROBE = "a harmless text"
_BLAMABLE = frozenset({Failed, WorkerCrashed, Invalid, TooLarge})
"""Exactly these: their children, such as a corrupt model, are nobody's text."""


class Vectors(NamedTuple):
    """Vectors of some texts."""

    rows: FloatArray
    """``(texts, dimensions)``; zeros for a refused text."""
    model: str
    """Who made them; empty when every text was refused."""
    refused: dict[int, str]
    """Why, by the place of the text."""


class PatientEmbedder:
    """Asks again when the queue is full, and goes on without the texts that cannot be embedded."""

    def __init__(self, embedder: Embedder, model: str, check: Callable[[], None]) -> None:
        self._embedder = embedder
        self._model = model
        self._check = check

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Give a vector or a refusal for each text.

        Raises:
            StackctlError: nothing can be embedded now, whatever the text.
        """
        found: dict[int, FloatArray] = {}
        refused: dict[int, str] = {}
        model = ""
        waiting = [list(range(len(texts)))]
        while waiting:
            places = waiting.pop()
            try:
                rows, model = await self._ask([texts[place] for place in places])
            except StackctlError as err:
                if type(err) not in _BLAMABLE:
                    raise
                culprit = _culprit(err, texts, places)
                if culprit is None:
                    half = len(places) // 2
                    waiting += [places[half:], places[:half]]
                    continue
                await self._ask_probe(err)
                refused[culprit] = err.message
                left = [place for place in places if place != culprit]
                waiting += [left] if left else []
                continue
            found.update(zip(places, rows, strict=True))
        width = len(next(iter(found.values()))) if found else 0
        whole = np.zeros((len(texts), width), dtype=np.float32)
        for place, row in found.items():
            whole[place] = row
        return Vectors(whole, model, refused)

    async def _ask(self, texts: list[str]) -> tuple[FloatArray, str]:
        while True:
            self._check()
            try:
                made = await self._embedder.embed(texts, model=self._model, priority="batch")
            except Overloaded as err:
                await asyncio.sleep(min(err.retry_after_s or 0.2, MAX_BACKOFF_S))
                continue
            rows = np.asarray(made.vectors, dtype=np.float32)
            if len(rows) != len(texts):
                # Our fault or the model's, and of no text: not to be searched for in halves.
                raise StackctlError(f"{len(rows)} vectors for {len(texts)} texts")
            return rows, made.model

    async def _ask_probe(self, blamed: StackctlError) -> None:
        try:
            await self._ask([PROBE])
        except StackctlError:
            raise blamed from None


def _culprit(err: StackctlError, texts: Sequence[str], places: Sequence[int]) -> int | None:
    """Give the place of the text to blame, when it is known."""
    if len(places) == 1:
        return places[0]
    text = err.text if isinstance(err, WorkerCrashed) else ""
    return next((place for place in places if text and texts[place] == text), None)
