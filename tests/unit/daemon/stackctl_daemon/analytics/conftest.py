from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stackctl.contracts.event import Event

NOW_US = 1_790_000_000_000_000
MakeEvents = Callable[..., list[Event]]


@pytest.fixture
def make_events() -> MakeEvents:
    """Give ``count`` events with ids ``<prefix>-<n>``, one millisecond apart."""

    def make(count: int, prefix: str = "e", **fields: Any) -> list[Event]:
        values: dict[str, Any] = {"kind": "request", "name": "search.query"} | fields
        values.setdefault("time_us", NOW_US)
        return [Event(id=f"{prefix}-{n}", **values) for n in range(count)]

    return make
