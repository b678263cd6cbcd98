"""Damage of the search store, of each kind, and what repair makes of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.embedder import HashingEmbedder
from fakes.inline_jobs import InlineJobs, Sink

from stackctl.contracts.search import Collection, IndexRequest
from stackctl.errors import Conflict, StoreCorrupt
from stackctl.settings import SearchSettings
from stackctl_daemon.search.repairing import salvage_all
from stackctl_daemon.search.service import SearchService
from stackctl_daemon.sqlite import Database

PAGE = 4096
NOISE = random.Random(7).randbytes(PAGE)


class Stored:
    """A data directory with two collections, one watched; each test damages its store."""

    def __init__(self, home: Path) -> None:
        self.data = home / "data"
        self.file = self.data / "search.sqlite"
        self.notes, self.letters = home / "notes", home / "letters"
        for folder in (self.notes, self.letters):
            folder.mkdir()
            for number in range(30):
                text = f"# {folder.name} {number}\n\n" + f"walrus {number} " * 200
                (folder / f"{number}.md").write_text(text)
        self.jobs = InlineJobs()

    def with_service(self, body: Callable[[SearchService], Any]) -> Any:
        """Run the body beside a service that was started on the store as it is now."""

        async def whole() -> Any:
            self.jobs = InlineJobs()
            service = SearchService(
                SearchSettings(), self.data, HashingEmbedder(64), self.jobs, Sink()
            )
            await service.start()
            try:
                return await body(service)
            finally:
                await service.close()

        return asyncio.run(whole())

    def index_notes(self) -> None:
        """Index the first of the two."""
        request = IndexRequest(paths=[str(self.notes)], collection="notes", watch=True)
        self.with_service(lambda service: service.index(request))

    def index(self) -> None:
        """Index both."""
        self.index_notes()
        request = IndexRequest(paths=[str(self.letters)], collection="letters")
        self.with_service(lambda service: service.index(request))

    def repair(self) -> tuple[str, list[str], list[Collection]]:
        """Give why it was degraded, what repair said and what is there after."""

        async def body(service: SearchService) -> tuple[str, list[str], list[Collection]]:
            before = await service.health()
            assert (before.state, before.hint) == ("degraded", "stackctl doctor --repair")
            with pytest.raises(StoreCorrupt) as refused:
                await service.collections()
            assert refused.value.hint == "stackctl doctor --repair"
            actions = await service.repair()
            assert (await service.health()).state == "ready"
            return before.reason or "", actions, (await service.collections()).items

        reason, actions, found = self.with_service(body)
        self.with_service(lambda service: service.collections())  # sound after a restart too
        return reason, actions, found

    def page(self, number: int) -> None:
        """Overwrite a page with noise."""
        with self.file.open("r+b") as file:
            file.seek((number - 1) * PAGE)
            file.write(NOISE)

    def root_of(self, table: str) -> int:
        database = Database(self.file)
        sql = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        found = int(database.value(sql, (table,)))
        database.close()
        return found


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    made = Stored(tmp_path)
    made.index()
    return made


def _truncate(stored: Stored, size: int) -> None:
    with stored.file.open("r+b") as file:
        file.truncate(size)


DAMAGE: dict[str, Callable[[Stored], None]] = {
    "first page": lambda s: s.page(1),
    "root of chunks": lambda s: s.page(s.root_of("chunks")),
    "root of collections": lambda s: s.page(s.root_of("collections")),
    "root of sources": lambda s: s.page(s.root_of("sources")),
    "half": lambda s: _truncate(s, s.file.stat().st_size // 2 // PAGE * PAGE),
    "a part of a page": lambda s: _truncate(s, 1000),
    "empty": lambda s: _truncate(s, 0),
    "no file": lambda s: s.file.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_repair_restores_every_collection_and_its_sources(
    stored: Stored, damage: Callable[[Stored], None]
) -> None:
    damage(stored)

    reason, actions, found = stored.repair()

    assert str(stored.file) in reason
    assert {c.name: (c.documents, c.sources[0].watched) for c in found} == {
        "letters": (30, False),
        "notes": (30, True),
    }
    assert "restored collection notes with 1 sources, 1 watched" in actions
    assert not any(action.startswith("lost") for action in actions)


def test_what_cannot_be_made_again_is_said(stored: Stored) -> None:
    stored.page(1)
    stored.letters.rename(stored.letters.with_name("moved"))

    _, actions, found = stored.repair()

    assert {c.name: c.documents for c in found} == {"letters": 0, "notes": 30}
    assert [a for a in actions if a.startswith("lost")] == [
        f"lost: no files at {stored.letters}, so its documents in letters cannot be made again"
    ]


def test_without_the_roster_repair_says_that_collections_may_be_lost(stored: Stored) -> None:
    stored.page(1)
    (stored.data / "search.collections.json").unlink()

    _, actions, found = stored.repair()

    assert found == []
    assert "the list of collections could not be read whole" in actions[-1]
    assert actions[-1].endswith("stackctl index PATH")


def test_a_store_that_lost_its_last_writes_keeps_the_rest(tmp_path: Path) -> None:
    """As when the write-ahead log was cut short: SQLite takes what is whole and says nothing."""
    stored = Stored(tmp_path)
    stored.index_notes()
    older = stored.file.read_bytes()
    stored.index()
    stored.file.write_bytes(older)

    reason, actions, found = stored.repair()

    assert reason.endswith("has lost sources of collections: letters")
    assert [c.documents for c in found] == [30, 30]
    assert not any("aside" in action for action in actions)


def test_an_older_store_without_a_roster_gets_one_at_its_next_start(stored: Stored) -> None:
    roster = stored.data / "search.collections.json"
    was = roster.read_bytes()
    roster.unlink()
    stored.with_service(lambda service: service.collections())

    assert roster.read_bytes() == was


def test_a_dropped_collection_stays_dropped_through_repair(stored: Stored) -> None:
    stored.with_service(lambda service: service.delete("letters"))
    stored.page(1)

    _, _, found = stored.repair()

    assert [c.name for c in found] == ["notes"]


def test_repair_leaves_the_store_of_a_newer_release_alone(tmp_path: Path) -> None:
    file = tmp_path / "search.sqlite"
    database = Database(file)
    database.rows("PRAGMA user_version=99")
    database.close()

    with pytest.raises(Conflict, match="schema 99"):
        salvage_all(file, {})
    assert file.exists()
