from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes.inline_jobs import InlineJobs
from waiting import until_on_loop

from stackctl.contracts.model import ModelExport, ModelImport
from stackctl.errors import Conflict, Invalid, ModelCorrupt, NotFound
from stackctl.settings import ModelSettings
from stackctl_daemon.models.service import ModelService


class Held:
    """The threads that read models' bytes, busy until they are let go."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1)
        self.free = threading.Event()

    def hold(self) -> None:
        begun = threading.Event()

        def wait() -> None:
            begun.set()
            self.free.wait()

        self.executor.submit(wait)
        begun.wait()

    def asked(self) -> bool:
        """Tell whether something waits for them."""
        return self.executor._work_queue.qsize() == 1


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.free.set()
    made.executor.shutdown()


@pytest.fixture
def service(tmp_path: Path, held: Held) -> ModelService:
    """Two imported models, and a folder of another."""
    made = ModelService(
        ModelSettings(),
        [tmp_path / "catalogue"],
        tmp_path / "data",
        tmp_path / "cache",
        InlineJobs(),
        readers=held.executor,
    )
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"a graph" * 100_000)
    for name in ("one", "two"):
        asyncio.run(made.take(ModelImport(name=name, path=str(folder))))
    return made


def store(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "data" / "models").iterdir())


Act = Callable[[ModelService, Path], Coroutine[Any, Any, Any]]
READS: dict[str, Act] = {
    "import": lambda s, at: s.take(ModelImport(name="three", path=str(at / "source"))),
    "export": lambda s, at: s.export("two", ModelExport(path=str(at / "out.tar"))),
    "verify": lambda s, _: s.verify("two"),
}


@pytest.mark.parametrize("what", READS)
def test_another_model_is_ready_while_bytes_are_read(
    service: ModelService, held: Held, tmp_path: Path, what: str
) -> None:
    async def look() -> None:
        held.hold()
        reading = asyncio.ensure_future(READS[what](service, tmp_path))
        await until_on_loop(held.asked)
        try:
            ready = await asyncio.wait_for(service.ready("one"), 20)
            assert ready.entry.name == "one"
            assert len((await asyncio.wait_for(service.list(), 20)).items) == 2
            assert not reading.done()
        finally:
            held.free.set()
        await reading

    asyncio.run(look())


@pytest.mark.parametrize("what", ["import", "export"])
def test_a_model_is_changed_by_one_at_a_time(
    service: ModelService, held: Held, tmp_path: Path, what: str
) -> None:
    name, doing = ("three", "imported") if what == "import" else ("two", "exported")

    async def meet() -> None:
        held.hold()
        first = asyncio.ensure_future(READS[what](service, tmp_path))
        await until_on_loop(held.asked)
        try:
            with pytest.raises(Conflict, match=f'"{name}" is being {doing}'):
                await asyncio.wait_for(READS[what](service, tmp_path), 20)
        finally:
            held.free.set()
        await first
        # It is free again.
        await service.remove(name)

    asyncio.run(meet())


@pytest.mark.parametrize("what", ["import", "export"])
def test_what_is_cancelled_ends_and_leaves_nothing(
    service: ModelService, held: Held, tmp_path: Path, what: str
) -> None:
    """It is cancelled between its blocks, by the one who asked having gone."""

    async def cancel() -> None:
        held.hold()
        waiting = asyncio.ensure_future(READS[what](service, tmp_path))
        await until_on_loop(held.asked)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        held.free.set()
        await service.verify("one")

    asyncio.run(cancel())

    assert store(tmp_path) == ["one", "two"]
    assert not (tmp_path / "out.tar").exists()


def test_an_entry_that_cannot_be_read_takes_no_other_model_with_it(
    service: ModelService, tmp_path: Path
) -> None:
    entry = tmp_path / "data" / "models" / "one" / "entry.toml"
    entry.write_text("adapter = ")

    async def use() -> None:
        listed = {model.name: model for model in (await service.list()).items}
        assert (listed["two"].state, listed["two"].problem) == ("present", "")
        assert (listed["one"].state, listed["one"].task) == ("corrupt", "unknown")
        assert str(entry) in listed["one"].problem
        assert (await service.ready("two")).entry.name == "two"
        with pytest.raises(ModelCorrupt, match=r"entry\.toml") as caught:
            await service.ready("one")
        assert caught.value.hint == "stackctl models remove one"
        found = await service.verify("one")
        assert not found.ok
        assert str(entry) in found.problems[0]
        await service.take(ModelImport(name="three", path=str(tmp_path / "source")))
        removed = await service.remove("one")
        assert (removed.name, removed.imported) == ("one", True)
        with pytest.raises(NotFound):
            await service.ready("one")

    asyncio.run(use())

    assert store(tmp_path) == ["three", "two"]


def test_an_entry_of_another_name_or_nested_without_end_is_unreadable(
    service: ModelService, tmp_path: Path
) -> None:
    entry = tmp_path / "data" / "models" / "one" / "entry.toml"
    entry.write_text(entry.read_text().replace('name = "one"', 'name = "two"'))
    (item,) = (m for m in asyncio.run(service.list()).items if m.name == "one")
    assert 'name = "two", expected "one"' in item.problem
    entry.write_text(f"options = {'[' * 20_000}{']' * 20_000}")
    (item,) = (m for m in asyncio.run(service.list()).items if m.name == "one")
    assert item.state == "corrupt"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "not absolute"),
        ("here/model", "not absolute"),
        ("/a\0b", "null"),
        ("/" + "x" * 5000, "File name too long"),
        ("/" + "x/" * 5000, "File name too long"),
    ],
    ids=["empty", "relative", "nul", "long-name", "long"],
)
def test_a_path_that_cannot_be_is_invalid(service: ModelService, path: str, told: str) -> None:
    for asked in (
        service.take(ModelImport(name="three", path=path)),
        service.export("one", ModelExport(path=path)),
    ):
        with pytest.raises(Invalid, match=told) as caught:
            asyncio.run(asked)
        assert caught.value.hint
        assert len(caught.value.message) < 300


def test_the_next_daemon_clears_what_the_last_left(service: ModelService, tmp_path: Path) -> None:
    root = tmp_path / "data" / "models"
    for name in (".import-x", ".removed-one-7", ".removed-y"):
        (root / name / "model").mkdir(parents=True)
    (root / "one" / ".write-abc").write_text("half")
    asyncio.run(service.start())

    assert store(tmp_path) == ["one", "two"]
    assert not (root / "one" / ".write-abc").exists()


def test_leftovers_do_not_keep_a_model_from_being_removed(
    service: ModelService, tmp_path: Path
) -> None:
    import os

    root = tmp_path / "data" / "models"
    (root / f".removed-one-{os.getpid()}" / "x").mkdir(parents=True)

    assert asyncio.run(service.remove("one")).name == "one"
    assert not (root / "one").exists()
