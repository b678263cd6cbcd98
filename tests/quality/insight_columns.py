"""Events in columns, and questions about them answered exactly: the insights' port for millions.

An independent reading of ``contracts/analytics.py`` in numpy: as much of it as the engine asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackctl.contracts.analytics import Column, Filter, Query, QueryResult

Array = NDArray[Any]
TEXTS = ("kind", "name", "model", "device", "uid", "error_code", "job_id")
NUMBERS = ("duration_s", "queue_s", "value")


@dataclass
class Vocabulary:
    """Texts by number; number 0 is the empty text."""

    texts: list[str]
    numbers: dict[str, int]

    @staticmethod
    def new() -> Vocabulary:
        return Vocabulary([""], {"": 0})

    def code(self, text: str) -> int:
        if text not in self.numbers:
            self.numbers[text] = len(self.texts)
            self.texts.append(text)
        return self.numbers[text]


class Columns:
    """Events sorted by time, one array a field; texts as numbers of one vocabulary."""

    def __init__(self, data: dict[str, Array], words: Vocabulary) -> None:
        order = np.argsort(data["time_us"], kind="stable")
        self.data = {name: column[order] for name, column in data.items()}
        self.words = words

    def __len__(self) -> int:
        return len(self.data["time_us"])

    def where(self, **texts: str) -> Array:
        """Say of which events all these fields have these texts."""
        found = np.ones(len(self), bool)
        for name, text in texts.items():
            found &= self.data[name] == self.words.numbers.get(text, -1)
        return found

    def part(self, since_us: int, until_us: int) -> Columns:
        """Copy the events of a range."""
        low, high = np.searchsorted(self.data["time_us"], [since_us, until_us])
        return Columns({n: c[low:high].copy() for n, c in self.data.items()}, self.words)

    def chosen(self, mask: Array) -> Columns:
        """Copy some events."""
        return Columns({n: c[mask].copy() for n, c in self.data.items()}, self.words)

    def joined(self, *others: Columns) -> Columns:
        """Give all events of all, in order of time."""
        data = {
            name: np.concatenate([column, *(other.data[name] for other in others)])
            for name, column in self.data.items()
        }
        return Columns(data, self.words)

    def set(self, mask: Array, **texts: str) -> None:
        """Give some events other texts."""
        for name, text in texts.items():
            self.data[name][mask] = self.words.code(text)

    async def query(self, query: Query) -> QueryResult:
        """Answer a question; what is not needed here is refused."""
        low, high = np.searchsorted(self.data["time_us"], [query.since_us, query.until_us])
        span = {name: column[low:high] for name, column in self.data.items()}
        keep = np.ones(high - low, bool)
        if query.kind:
            keep &= span["kind"] == self.words.numbers.get(query.kind, -1)
        for condition in query.where:
            keep &= self._holds(span, condition)
        span = {name: column[keep] for name, column in span.items()}
        step_us = query.step_s * 1_000_000
        steps = span["time_us"] // step_us
        groups = [self._group(span, name) for name in query.group_by]
        keys = [steps, *(codes for codes, _ in groups)]
        rows = self._rows(query, keys, [texts for _, texts in groups], span["duration_s"], step_us)
        columns = [
            Column(name="time", role="time"),
            *(Column(name=name, role="group") for name in query.group_by),
            *(Column(name=name, role="measure") for name in query.measures),
        ]
        return QueryResult(
            columns=columns, rows=rows[: query.limit], truncated=len(rows) > query.limit
        )

    def _holds(self, span: dict[str, Array], condition: Filter) -> Array:
        if condition.field == "outcome" and condition.op == "eq":
            failed = span["error_code"] > 0
            return failed if condition.value == "error" else ~failed
        if condition.field == "attributes.queue_s" and condition.op == "ge":
            held: Array = span["queue_s"] >= condition.value
            return held
        if condition.field in TEXTS and condition.op == "in":
            return np.isin(
                span[condition.field], [self.words.numbers.get(v, -1) for v in condition.value]
            )
        raise NotImplementedError(condition)

    def _group(self, span: dict[str, Array], name: str) -> tuple[Array, list[Any]]:
        if name == "outcome":
            return (span["error_code"] > 0).astype(int), ["ok", "error"]
        if name == "attributes.value":
            values, codes = np.unique(span["value"], return_inverse=True)
            return codes, [str(v) for v in values]
        return span[name], self.words.texts

    @staticmethod
    def _rows(
        query: Query, keys: list[Array], texts: list[list[Any]], durations: Array, step_us: int
    ) -> list[list[Any]]:
        size = len(durations)
        if not size:
            return []
        order = np.lexsort((durations, *reversed(keys)))
        ordered = [key[order] for key in keys]
        took = durations[order]
        changes = np.zeros(size, bool)
        changes[0] = True
        for key in ordered:
            changes[1:] |= key[1:] != key[:-1]
        first = np.flatnonzero(changes)
        last = np.append(first[1:], size) - 1
        counts = last - first + 1
        figures: dict[str, Array] = {"count": counts, "max_s": took[last]}
        figures["p50_s"] = (took[(first + last) // 2] + took[(first + last + 1) // 2]) / 2
        measured = [figures[name].tolist() for name in query.measures]
        heads = [key[first].tolist() for key in ordered]
        return [
            [
                heads[0][row] * step_us,
                *(texts[at][heads[at + 1][row]] for at in range(len(texts))),
                *(values[row] for values in measured),
            ]
            for row in range(len(first))
        ]
