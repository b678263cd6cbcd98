from __future__ import annotations

import asyncio
import sys

from stackctl_daemon.supervisor import Supervised


class InstantClock:
    """Waits are noted, not waited for."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def monotonic_s(self) -> float:
        return 0.0

    def utc(self) -> str:
        return "1970-01-01T00:00:00Z"

    async def sleep(self, duration_s: float) -> None:
        self.waits.append(duration_s)
        await asyncio.sleep(0)


def test_crash_loop_backs_off_then_fails() -> None:
    async def test() -> None:
        clock, statuses, done = InstantClock(), [], asyncio.Event()

        async def start() -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-Sc", "raise SystemExit(3)"
            )

        def on_exit(status: int) -> None:
            statuses.append(status)
            if worker.state == "failed":
                done.set()

        worker = Supervised("w", start, on_exit=on_exit, clock=clock)
        worker.run()
        await asyncio.wait_for(done.wait(), 20)
        await worker.close()

        assert statuses == [3] * 5
        assert clock.waits == [0.1, 0.2, 0.4, 0.8]

    asyncio.run(test())


def test_killed_worker_comes_back_and_close_ends_it() -> None:
    async def test() -> None:
        ready: asyncio.Queue[int] = asyncio.Queue()

        async def start() -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec("sleep", "60")

        worker = Supervised("w", start, lambda process: ready.put(process.pid))
        worker.run()
        first = await ready.get()
        assert worker.process is not None
        worker.process.kill()
        second = await asyncio.wait_for(ready.get(), 10)
        await worker.close()

        assert first != second
        assert (worker.state, worker.pid, worker.restarts) == ("off", None, 1)

    asyncio.run(test())
