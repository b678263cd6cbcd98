from __future__ import annotations

from pathlib import Path

import pytest
from fakes.search_area import Area, run

from stackctl.contracts.search import SearchRequest
from stackctl.settings import SearchSettings
from stackctl_daemon.search import ranking
from stackctl_daemon.search.ranking import Ranked, Scored, at_most_two, fuse

WORDS = "river copper lantern orchard signal winter harbour cotton engine violin".split()  # noqa: SIM905


def notes(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        words = [WORDS[(number * 7 + place * place) % 10] for place in range(1 + number % 6)]
        (folder / f"{number:03}.txt").write_text(f"{' '.join(words)} note{number}\n")
    return folder


@pytest.mark.parametrize("fields", [{}, {"path": "*/0[0-4]*.txt"}, {"path": "nowhere"}])
def test_a_scan_over_bits_ends_in_the_exact_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]
) -> None:
    async def body(area: Area) -> None:
        await area.index(notes(tmp_path / "notes", 120))

        async def found() -> list[tuple[str, float]]:
            request = SearchRequest(query="copper lantern", mode="semantic", limit=30, **fields)
            hits = (await area.service.search(request)).hits
            return [(hit.citation.path, round(hit.semantic_score or 0, 5)) for hit in hits]

        exact = await found()
        monkeypatch.setattr(ranking, "COARSE_ABOVE_ROWS", 100)
        assert sorted(await found()) == sorted(exact)
        assert [score for _, score in await found()] == [score for _, score in exact]
        assert len(exact) == (0 if fields.get("path") == "nowhere" else 30)
        # A scan that hands on ten rows gives no more than these, and they are among the near.
        monkeypatch.setattr(ranking, "COARSE_DEPTH", 10)
        assert len(await found()) == min(10, len(exact))

    run(Area(tmp_path / "data"), body)


def test_a_document_that_both_arms_mean_is_first_though_by_other_passages() -> None:
    keyword = [Scored(10, 1, 9.0), Scored(20, 2, 8.0)]
    semantic = [Scored(30, 3, 0.9), Scored(21, 2, 0.8)]

    fused = fuse(keyword, semantic, SearchSettings(keyword_weight=1.0, semantic_weight=1.0))

    assert {entry.document_id for entry in fused[:2]} == {2}
    by_chunk = {entry.chunk_id: entry for entry in fused}
    assert (by_chunk[20].keyword_rank, by_chunk[20].semantic_rank) == (2, None)
    assert (by_chunk[21].keyword_rank, by_chunk[21].semantic_rank) == (None, 2)


def test_a_long_file_does_not_fill_the_page() -> None:
    ranked = [Ranked(chunk, 1) for chunk in range(5)] + [Ranked(9, 2)]

    assert [entry.chunk_id for entry in at_most_two(ranked, 3)] == [0, 1, 9]
    assert [entry.chunk_id for entry in at_most_two(ranked, 1)] == [0]
