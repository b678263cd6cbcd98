from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stackctl.contracts.event import Event
from stackctl.errors import Conflict, Failed, NotFound, StoreCorrupt
from stackctl.settings import AnalyticsSettings
from stackctl_daemon.analytics.service import AnalyticsService
from stackctl_daemon.job_runner import JobRunner
from stackctl_daemon.job_store import JobStore
from stackctl_daemon.jobs import JobContext, JobKind
from stackctl_daemon.sqlite import Database


class Sink:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def record(self, events: Sequence[Event]) -> None:
        self.events += events

    def emit(self, event: Event) -> None:
        self.events.append(event)


async def _count(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    for done in range(params.get("n", 3)):
        context.progress(done + 1, params.get("n", 3), unit="file")
        await asyncio.sleep(0)
    return {"counted": params.get("n", 3)}


async def _fail(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    raise Failed("it broke", hint="mend it")


async def _forever(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    context.progress(7, 9)
    await asyncio.Event().wait()
    return {}


def _runner(path: Path, **kinds: tuple[Any, bool]) -> JobRunner:
    runner = JobRunner(path, Sink())
    for name, (handler, resumable) in kinds.items():
        runner.register(JobKind(name, handler, resumable, lambda p: str(p.get("key", id(p)))))
    return runner


def _run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def test_job_runs_reports_and_is_found_by_prefix(tmp_path: Path) -> None:
    async def test() -> None:
        runner = _runner(tmp_path / "jobs.db", count=(_count, True))
        await runner.start()
        job = await runner.submit("count", "Count", {"n": 5})
        seen = [j async for j in runner.watch(job.id)]
        found = await runner.get(job.id[:6])
        await runner.close()

        assert seen[-1] == found
        assert (found.state, found.result, found.attempts) == ("succeeded", {"counted": 5}, 1)
        assert (found.progress.done, found.progress.unit) == (5, "file")
        states = [e.attributes["state"] for e in runner._sink.events]  # type: ignore[attr-defined]
        assert states == ["queued", "running", "succeeded"]

    _run(test)


def test_failure_keeps_code_message_and_hint(tmp_path: Path) -> None:
    async def test() -> None:
        runner = _runner(tmp_path / "jobs.db", fail=(_fail, True))
        await runner.start()
        job = await runner.submit("fail", "Fail", {})
        last = [j async for j in runner.watch(job.id)][-1]
        with pytest.raises(Conflict):
            await runner.cancel(job.id)
        with pytest.raises(NotFound):
            await runner.get("zzz")
        with pytest.raises(NotFound):
            await runner.submit("unknown", "", {})
        await runner.close()

        assert (last.state, last.error_code) == ("failed", "failed")
        assert (last.error_message, last.error_hint) == ("it broke", "mend it")

    _run(test)


def test_cancel_is_prompt_for_running_and_queued_jobs(tmp_path: Path) -> None:
    async def test() -> None:
        runner = _runner(tmp_path / "jobs.db", forever=(_forever, True))
        await runner.start()
        first = await runner.submit("forever", "A", {"key": "same"})
        second = await runner.submit("forever", "B", {"key": "same"})
        async for job in runner.watch(first.id):
            if job.progress.done == 7:
                break
        waiting = await runner.get(second.id)
        cancelled = [await runner.cancel(second.id), await runner.cancel(first.id)]
        left = runner.active()
        await runner.close()

        assert waiting.state == "queued"
        assert [job.state for job in cancelled] == ["cancelled", "cancelled"]
        assert left == []

    _run(test)


def test_restart_resumes_what_can_and_interrupts_the_rest(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "jobs.db"
        first = _runner(path, again=(_forever, True), once=(_forever, False))
        await first.start()
        ids = [(await first.submit(kind, kind, {})).id for kind in ("again", "once")]
        for job_id in ids:
            async for job in first.watch(job_id):
                if job.progress.done:
                    break
        await first.close()
        second = _runner(path, again=(_count, True), once=(_count, False))
        await second.start()
        resumed = [j async for j in second.watch(ids[0])][-1]
        interrupted = await second.get(ids[1])
        await second.close()

        assert (resumed.state, resumed.attempts) == ("succeeded", 2)
        assert (interrupted.state, interrupted.error_code) == ("interrupted", "interrupted")

    _run(test)


@pytest.mark.parametrize(("attempts", "state"), [(99, "succeeded"), (100, "failed")])
def test_a_job_that_never_ends_is_given_up(tmp_path: Path, attempts: int, state: str) -> None:
    async def test() -> None:
        path = tmp_path / "jobs.db"
        first = _runner(path, long=(_forever, True))
        await first.start()
        job = await first.submit("long", "Long", {})
        await first.close()
        store = JobStore(path)
        store.update(msgspec.structs.replace(job, state="running", attempts=attempts))
        store.close()

        second = _runner(path, long=(_count, True))
        await second.start()
        ended = [j async for j in second.watch(job.id)][-1]
        await second.close()

        assert (ended.state, ended.attempts) == (state, 100)
        if state == "failed":
            assert ended.error_message == "started 100 times without an end"
            assert ended.error_hint == f"stackctl jobs show {job.id}"

    _run(test)


def test_corrupt_database_is_refused_then_set_aside(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "jobs.db"
        path.write_bytes(b"not a database" * 1000)
        runner = _runner(path, count=(_count, True))
        with pytest.raises(StoreCorrupt):
            await runner.start()
        with pytest.raises(StoreCorrupt):
            await runner.submit("count", "", {})
        actions = await runner.repair()
        job = await runner.submit("count", "", {})
        last = [j async for j in runner.watch(job.id)][-1]
        await runner.close()

        assert last.state == "succeeded"
        assert "aside" in actions[0]
        assert any("corrupt-" in p.name for p in tmp_path.iterdir())

    _run(test)


def _damage(file: Path, page: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(page * 4096)
        opened.write(b"\xa5" * 4096)


async def _fill(file: Path) -> None:
    runner = _runner(file, count=(_count, True), forever=(_forever, True))
    await runner.start()
    for number in range(40):
        job = await runner.submit("count", "x" * 500, {"n": 1, "key": str(number)})
        [j async for j in runner.watch(job.id)]
    await runner.submit("forever", "goes on", {})
    await runner.close()


def test_a_damaged_page_degrades_and_repair_keeps_the_other_jobs(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"

    async def test() -> None:
        runner = _runner(file, count=(_count, True), forever=(_forever, True))
        with pytest.raises(StoreCorrupt, match=r"jobs\.db"):
            await runner.start()
        assert (runner.health().state, runner.health().hint) == (
            "degraded",
            "stackctl doctor --repair",
        )
        actions = await runner.repair()
        jobs = await runner.recent()
        active = [job.title for job in runner.active()]
        await runner.close()

        assert runner.health().state == "ready"
        assert 20 < len(jobs) < 41  # what lay on the page is gone
        assert any(f"with the {len(jobs)} jobs" in action for action in actions)
        assert active == ["goes on"]

    _run(lambda: _fill(file))
    pages = file.stat().st_size // 4096
    _damage(file, pages // 2)
    _run(test)


def test_repair_beside_a_running_job_keeps_it(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    go = asyncio.Event()

    async def wait(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
        await go.wait()
        return {"waited": True}

    async def test() -> None:
        await _fill(file)
        runner = _runner(file, wait=(wait, True))
        await runner.start()
        job = await runner.submit("wait", "", {})
        for page in range(2, file.stat().st_size // 4096):
            _damage(file, page)
        other = Database(file)
        other.rows("PRAGMA user_version=2")  # makes the runner's connection read the file again
        with pytest.raises(StoreCorrupt):
            await runner.recent()
        assert runner.health().state == "degraded"
        await runner.repair()
        other.close()
        go.set()
        last = [j async for j in runner.watch(job.id)][-1]
        assert last.state == "succeeded"
        assert (await runner.recent())[0] == last
        assert runner.health().state == "ready"
        await runner.close()

    _run(test)


def test_repair_leaves_the_file_of_a_newer_release_alone(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    database = Database(file)
    database.rows("PRAGMA user_version=99")
    database.close()
    was = file.read_bytes()

    async def test() -> None:
        runner = _runner(file)
        for act in (runner.start, runner.repair):
            with pytest.raises(Conflict, match="schema 99, this stackctl knows 2"):
                await act()
        await runner.close()

    _run(test)
    assert file.read_bytes() == was


def test_a_job_of_three_steps_counts_as_one_run(tmp_path: Path) -> None:
    async def test() -> None:
        analytics = AnalyticsService(AnalyticsSettings(flush_interval_s=0.01), tmp_path)
        await analytics.start()
        runner = JobRunner(tmp_path / "jobs.db", analytics)
        runner.register(JobKind("count", _count, True, lambda p: "one"))
        await runner.start()
        job = await runner.submit("count", "", {"n": 3})
        [j async for j in runner.watch(job.id)]
        await runner.close()
        figures = (await analytics.summary()).rows
        await analytics.close()

        runs = [(r.name, r.count, r.items) for r in figures if r.kind == "job"]
        assert runs == [("count", 1, 3), ("count.queued", 1, 0), ("count.running", 1, 0)]

    _run(test)
