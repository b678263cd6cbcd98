from __future__ import annotations

import asyncio

import pytest

from stackctl_daemon.tasks import TaskOwner


def test_close_cancels_and_waits_and_later_tasks_are_refused() -> None:
    async def test() -> None:
        owner, cleaned = TaskOwner(), []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                cleaned.append(True)

        owner.spawn(work(), name="work")
        await asyncio.sleep(0)
        await owner.close()

        assert cleaned == [True]
        with pytest.raises(RuntimeError):
            owner.spawn(work(), name="late")

    asyncio.run(test())


def test_error_of_a_task_is_told() -> None:
    async def test() -> None:
        told: list[tuple[str, str]] = []
        owner = TaskOwner(lambda name, err: told.append((name, str(err))))

        async def work() -> None:
            raise ValueError("no")

        task = owner.spawn(work(), name="work")
        await asyncio.wait([task])
        await asyncio.sleep(0)

        assert told == [("work", "no")]
        assert len(owner) == 0

    asyncio.run(test())
