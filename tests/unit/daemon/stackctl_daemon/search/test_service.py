"""The search service on real files and a real store; the embedder hashes words."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import docx
import pytest
from fakes.embedder import HashingEmbedder
from fakes.inline_jobs import Context
from fakes.search_area import Area, run

from stackctl.contracts.search import SearchRequest
from stackctl.errors import Conflict, Invalid, NotFound, Overloaded, StoreCorrupt, WorkerCrashed
from stackctl_daemon.sqlite import Database


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "sub").mkdir(parents=True)
    (folder / "keys.md").write_text("# Guide\n\n## Keys\n\nRotate the signing keys every month.\n")
    (folder / "soup.txt").write_text("Tomato soup\n\nBoil tomatoes with basil.\n")
    (folder / "sub" / "code.py").write_text("def rotate_matrix(m):\n    return m[::-1]\n")
    return folder


def test_files_are_found_by_words_with_citation_and_highlights(
    tmp_path: Path, corpus: Path
) -> None:
    async def body(area: Area) -> None:
        result = await area.index(corpus)
        reply = await area.service.search(SearchRequest(query="how do I rotate signing keys?"))

        assert (result["indexed"], result["chunks"]) == (3, 3)
        hit = reply.hits[0]
        assert hit.citation.path == str(corpus / "keys.md")
        assert hit.citation.heading == "Guide > Keys"
        assert (hit.citation.line_start, hit.citation.line_end) == (3, 5)
        assert (hit.keyword_rank, hit.rank, hit.type) == (1, 1, "markdown")
        marked = [hit.snippet[a:b] for a, b in hit.highlights]
        assert "Rotate" in marked
        assert "signing" in marked

    run(Area(tmp_path / "data"), body)


def test_a_second_run_does_only_what_changed(tmp_path: Path, corpus: Path) -> None:
    async def body(area: Area) -> None:
        await area.index(corpus)
        (corpus / "soup.txt").write_text("Onion soup\n\nFry onions.\n")
        (corpus / "sub" / "code.py").unlink()
        os.utime(corpus / "keys.md", ns=(1, 1))
        asked = len(area.embedder.texts)
        result = await area.index(corpus)

        counts = (result["indexed"], result["unchanged"], result["removed"])
        assert counts == (1, 1, 1)
        assert len(area.embedder.texts) - asked == 1
        assert await area.find("onions", mode="keyword") == ["soup.txt"]
        assert await area.find("tomatoes", mode="keyword") == []

    run(Area(tmp_path / "data"), body)


def test_a_part_of_an_older_source_can_be_indexed_alone(tmp_path: Path, corpus: Path) -> None:
    async def body(area: Area) -> None:
        await area.index(corpus)
        result = await area.index(corpus / "sub")

        assert (result["unchanged"], result["removed"]) == (1, 0)
        assert (await area.service.collection("default")).documents == 3

    run(Area(tmp_path / "data"), body)


def test_filters_hold_in_every_mode(tmp_path: Path, corpus: Path) -> None:
    async def body(area: Area) -> None:
        await area.index(corpus)

        for mode in ("hybrid", "keyword", "semantic"):
            query = "rotate matrix keys"
            assert set(await area.find(query, mode=mode, path="*.py")) <= {"code.py"}
            assert await area.find(query, mode=mode, type="markdown") == ["keys.md"]
        assert await area.find("m", mode="semantic", path=str(corpus / "sub")) == ["code.py"]
        assert await area.find("m", mode="semantic", path="sub") == ["code.py"]

    run(Area(tmp_path / "data"), body)


def test_broken_and_binary_files_are_reported_and_the_job_goes_on(
    tmp_path: Path, corpus: Path
) -> None:
    (corpus / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    (corpus / "broken.docx").write_bytes(b"no zip")
    (corpus / "data").write_bytes(b"\0\1\2")
    page = "<html><head><title>Page</title><script>x()</script></head><h1>Top</h1><p>Walrus</p>"
    (corpus / "page.html").write_text(page)
    document = docx.Document()
    document.add_heading("Ships", 1)
    document.add_paragraph("The schooner sails.")
    document.save(str(corpus / "ship.docx"))

    async def body(area: Area) -> None:
        result = await area.index(corpus)

        assert {Path(f["path"]).name for f in result["failed"]} == {"broken.pdf", "broken.docx"}
        assert [Path(f["path"]).name for f in result["skipped"]] == ["data"]
        assert result["indexed"] == 5
        assert await area.find("walrus", mode="keyword") == ["page.html"]
        assert await area.find("x()", mode="keyword") == []
        found = (await area.service.search(SearchRequest(query="schooner"))).hits[0]
        assert (found.citation.heading, found.title, found.type) == ("Ships", "Ships", "docx")

    run(Area(tmp_path / "data"), body)


def test_a_document_fills_two_places_at_most(tmp_path: Path, corpus: Path) -> None:
    (corpus / "long.txt").write_text("\n".join(f"whale number {n} swims" for n in range(400)))

    async def body(area: Area) -> None:
        await area.index(corpus)

        assert await area.find("whale", mode="keyword") == ["long.txt", "long.txt"]

    run(Area(tmp_path / "data"), body)


def test_bad_requests_are_refused(tmp_path: Path, corpus: Path) -> None:
    async def body(area: Area) -> None:
        with pytest.raises(NotFound) as missing:
            await area.find("x")
        assert missing.value.hint == "stackctl index PATH"
        await area.index(corpus)
        for bad in ({"query": ""}, {"query": "x" * 2001}, {"query": "x", "limit": 0}):
            with pytest.raises(Invalid):
                await area.service.search(SearchRequest(**bad))
        with pytest.raises(Invalid):
            await area.index(Path("relative"))
        with pytest.raises(NotFound):
            await area.index(tmp_path / "none")
        with pytest.raises(Invalid):
            await area.index(corpus, collection="../x")
        assert await area.find('"unclosed AND ( NEAR * ^', limit=5) is not None

    run(Area(tmp_path / "data"), body)


def test_another_model_is_a_conflict(tmp_path: Path, corpus: Path) -> None:
    run(Area(tmp_path / "data"), lambda area: _index(area, corpus))

    async def body(area: Area) -> None:
        (corpus / "new.txt").write_text("new")
        with pytest.raises(Conflict):
            await area.find("keys")
        with pytest.raises(Conflict):
            await area.index(corpus)

    run(Area(tmp_path / "data", HashingEmbedder(32, "other")), body)


async def _index(area: Area, corpus: Path) -> None:
    await area.index(corpus)


def test_an_overloaded_embedder_is_asked_again(tmp_path: Path, corpus: Path) -> None:
    class Busy(HashingEmbedder):
        refusals = 3

        async def embed(self, texts: Any, *, model: Any, priority: Any) -> Any:
            if self.refusals:
                self.refusals -= 1
                raise Overloaded("full", retry_after_s=0.001)
            return await super().embed(texts, model=model, priority=priority)

    async def body(area: Area) -> None:
        assert (await area.index(corpus))["indexed"] == 3

    run(Area(tmp_path / "data", Busy(64)), body)


def test_a_cancelled_job_ends_as_cancelled_and_goes_on_later(tmp_path: Path, corpus: Path) -> None:
    async def body(area: Area) -> None:
        area.jobs.context = Context(cancel_at=2)
        with pytest.raises(asyncio.CancelledError):
            await area.index(corpus)
        area.jobs.context = Context()

        await area.index(corpus)
        assert (await area.service.collection("default")).documents == 3

    run(Area(tmp_path / "data"), body)


def test_delete_forgets_the_collection_and_leaves_the_files(tmp_path: Path, corpus: Path) -> None:
    async def body(area: Area) -> None:
        await area.index(corpus)
        was = await area.service.delete("default")

        assert was.documents == 3
        assert (await area.service.collections()).items == []
        assert (corpus / "keys.md").exists()
        await area.index(corpus)
        assert "keys.md" in await area.find("rotate")

    run(Area(tmp_path / "data"), body)


def test_a_corrupt_store_degrades_and_repair_indexes_again(tmp_path: Path, corpus: Path) -> None:
    data = tmp_path / "data"
    run(Area(data), lambda area: _index(area, corpus))
    file = data / "search.sqlite"
    database = Database(file)
    root = 4096 * (database.value("SELECT rootpage FROM sqlite_master WHERE name = 'chunks'") - 1)
    database.close()
    damaged = bytearray(file.read_bytes())
    # The root of the chunks: the schema and the list of collections stay readable.
    damaged[root : root + 4096] = b"\xff" * 4096
    file.write_bytes(damaged)

    async def body(area: Area) -> None:
        assert (await area.service.health()).state == "degraded"
        with pytest.raises(StoreCorrupt) as refused:
            await area.find("keys")
        assert refused.value.hint == "stackctl doctor --repair"
        actions = await area.service.repair()

        assert any("aside" in action for action in actions)
        assert list(data.glob("search.sqlite.corrupt-*"))
        assert (await area.service.health()).state == "ready"
        assert (await area.service.collection("default")).documents == 3

    run(Area(data), body)


def test_repair_of_a_sound_store_rebuilds_its_indexes(tmp_path: Path, corpus: Path) -> None:
    async def body(area: Area) -> None:
        await area.index(corpus)

        assert await area.service.repair() == ["rebuilt the indexes of default: 3 chunks"]
        assert "keys.md" in await area.find("rotate")

    run(Area(tmp_path / "data"), body)


def test_a_watched_source_is_indexed_again_when_it_changes(tmp_path: Path, corpus: Path) -> None:
    async def body(area: Area) -> None:
        await area.index(corpus, watch=True)
        async with asyncio.timeout(20):
            # The watch begins some time after the call: change until it was seen.
            number = 0
            while len(area.jobs.results) < 2:
                number += 1
                (corpus / "added.txt").write_text(f"walrus {number}")
                await asyncio.sleep(0.2)

        assert await area.find("walrus", mode="keyword") == ["added.txt"]

    run(Area(tmp_path / "data"), body)


def test_a_poison_document_is_reported_and_the_others_are_indexed(
    tmp_path: Path, corpus: Path
) -> None:
    class Poisoned(HashingEmbedder):
        async def embed(self, texts: Any, *, model: Any, priority: Any) -> Any:
            if any("tomatoes" in text for text in texts):
                raise WorkerCrashed("3 workers of cpu died on a request of 1 texts")
            return await super().embed(texts, model=model, priority=priority)

    async def body(area: Area) -> None:
        result = await area.index(corpus)

        assert (result["indexed"], result["failed_count"]) == (2, 1)
        assert result["failed"][0]["path"] == str(corpus / "soup.txt")
        assert result["failed"][0]["reason"].startswith("cannot be embedded: 3 workers")
        assert await area.find("tomatoes", mode="keyword") == []
        assert "keys.md" in await area.find("rotate")

    run(Area(tmp_path / "data", Poisoned(64)), body)
