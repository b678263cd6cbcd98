from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import Overloaded, StackctlError, TimedOut
from stackctl_daemon.analytics import reader
from stackctl_daemon.analytics.reader import Reader
from stackctl_daemon.analytics.segment_log import Position
from stackctl_daemon.analytics.store import Store

ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "analytics.duckdb")
    assert opened.position == Position(0, 0)
    yield opened
    opened.close()


async def outcome(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except StackctlError as err:
        return err


def test_a_question_is_interrupted_when_its_time_is_over(store: Store) -> None:
    async def main() -> None:
        ours = Reader(store)
        late = await outcome(ours.run(lambda c: c.execute(ENDLESS).fetchall(), 0.1))
        assert isinstance(late, TimedOut)
        assert "0.1 s" in late.message
        assert await ours.run(lambda c: c.execute("SELECT 1").fetchall(), 10) == [(1,)]
        ours.close()

    asyncio.run(main())


def test_closing_the_store_ends_what_runs_and_it_opens_again(store: Store) -> None:
    async def main() -> None:
        ours, begun = Reader(store), threading.Event()

        def endless(cursor: Any) -> Any:
            begun.set()
            return cursor.execute(ENDLESS).fetchall()

        async with asyncio.TaskGroup() as group:
            asked = group.create_task(outcome(ours.run(endless, 60)))
            await asyncio.to_thread(begun.wait, 30)
            while not asked.done():  # a first interrupt may come before the question
                await asyncio.to_thread(store.close)
        assert isinstance(asked.result(), Overloaded)
        assert isinstance(await outcome(ours.run(lambda c: c, 1)), Overloaded)
        assert await asyncio.to_thread(lambda: store.position) == Position(0, 0)
        assert await ours.run(lambda c: c.execute("SELECT 1").fetchall(), 10) == [(1,)]
        ours.close()

    asyncio.run(main())


def test_too_many_questions_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_WAITING", 2)
    go = threading.Event()

    async def main() -> None:
        ours = Reader(store)
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ours.run(lambda _: go.wait(30), 30)) for _ in range(2)]
            await asyncio.sleep(0)
            refused = await outcome(ours.run(lambda _: True, 30))
            go.set()
        assert isinstance(refused, Overloaded)
        assert [task.result() for task in asked] == [True, True]
        assert await ours.run(lambda _: True, 30)
        ours.close()

    asyncio.run(main())
