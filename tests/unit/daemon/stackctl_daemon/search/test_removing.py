"""Forgetting paths, on a real store."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from fakes.search_area import Area, run

from stackctl.contracts.search import RemoveRequest, SearchRequest
from stackctl.errors import Invalid, NotFound


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "sub").mkdir(parents=True)
    (folder / "keys.md").write_text("Rotate the signing keys every month.\n")
    (folder / "sub" / "soup.txt").write_text("Boil tomatoes with basil.\n")
    (tmp_path / "corpus2").mkdir()
    (tmp_path / "corpus2" / "owl.txt").write_text("An owl sleeps by day.\n")
    return folder


async def _remove(area: Area, *paths: str) -> dict[str, object]:
    await area.service.remove(RemoveRequest(paths=list(paths)))
    return area.jobs.results[-1]


def test_a_source_that_is_gone_is_forgotten_and_its_neighbour_stays(
    tmp_path: Path, corpus: Path
) -> None:
    async def body(area: Area) -> None:
        await area.index(corpus, tmp_path / "corpus2", watch=True)
        shutil.rmtree(corpus)
        with pytest.raises(NotFound) as gone:
            await area.index(corpus)
        assert gone.value.hint == f"stackctl index --remove {corpus}"
        assert "stays in" in gone.value.message

        result = await _remove(area, str(corpus))

        assert result["removed"] == 2
        assert result["paths"] == [{"path": str(corpus), "documents": 2, "source_above": None}]
        left = await area.service.collection("default")
        assert [(s.path, s.watched) for s in left.sources] == [(str(tmp_path / "corpus2"), True)]
        assert await area.find("owl keys tomatoes", mode="keyword") == ["owl.txt"]
        with pytest.raises(NotFound):
            await _remove(area, str(corpus))

    run(Area(tmp_path / "data"), body)
    # What was forgotten is not taken for lost at the next start.
    run(Area(tmp_path / "data"), _is_ready)


async def _is_ready(area: Area) -> None:
    assert (await area.service.health()).state == "ready"


def test_a_part_of_a_source_goes_and_the_source_above_is_named(
    tmp_path: Path, corpus: Path
) -> None:
    async def body(area: Area) -> None:
        await area.index(corpus)

        result = await _remove(area, f"{corpus}/sub/", str(tmp_path / "none"))

        assert result["removed"] == 1
        assert result["paths"] == [
            {"path": f"{corpus}/sub", "documents": 1, "source_above": str(corpus)}
        ]
        assert await area.find("tomatoes", mode="keyword") == []
        assert (await area.service.collection("default")).documents == 1

    run(Area(tmp_path / "data"), body)


def test_what_cannot_be_removed_is_refused(tmp_path: Path, corpus: Path) -> None:
    async def body(area: Area) -> None:
        with pytest.raises(NotFound):
            await _remove(area, str(corpus))
        await area.index(corpus)
        with pytest.raises(NotFound, match="holds nothing of"):
            await _remove(area, f"{corpus}2")
        for bad in ("relative", "", "file://relative", "/a\0b"):
            with pytest.raises(Invalid):
                await _remove(area, bad)
        with pytest.raises(Invalid):
            await _remove(area)

    run(Area(tmp_path / "data"), body)


def test_a_root_that_is_not_utf8_is_indexed_searched_and_removed(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(root)  # noqa: PTH102 - bytes
    Path(os.fsdecode(root + b"/na\xefve.txt")).write_text("A walrus naps.\n")
    uri, seen = f"file://{tmp_path}/caf%E9", f"{tmp_path}/caf\\xe9"

    async def body(area: Area) -> None:
        for by in (uri, seen):
            result = await area.index(uri)
            assert result["indexed"] == 1
            for path in (seen, "", "*.txt"):
                found = await area.service.search(SearchRequest(query="walrus", path=path))
                assert [h.citation.path for h in found.hits] == [f"{seen}/na\\xefve.txt"]
            assert (await area.service.collection("default")).sources[0].path == seen

            # By what travels, and by what a hit shows: the second is what a user can copy.
            assert (await _remove(area, by))["removed"] == 1
            assert (await area.service.collection("default")).sources == []

    run(Area(tmp_path / "data"), body)
