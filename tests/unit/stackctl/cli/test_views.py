from __future__ import annotations

import copy
import io
from typing import Any

import pytest
from control_server import COLLECTION, STATUS

from stackctl.cli.output import Output
from stackctl.cli.text import visible_width
from stackctl.cli.views import status_lines
from stackctl.client.view import decode, encode


def _lines(width: int | None, sources: list[dict[str, Any]], *, colour: bool = False) -> list[str]:
    status: dict[str, Any] = copy.deepcopy(STATUS)
    status["collections"] = [{**COLLECTION, "sources": sources}]
    status["areas"] = status["areas"] * 4
    output = Output("text", colour, width, io.StringIO())
    return list(status_lines(output, decode(encode(status))))


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("colour", [False, True])
def test_status_fits_the_terminal(width: int, colour: bool) -> None:
    sources = [{"path": f"/folder/{number}", "watched": False} for number in range(40)]

    assert all(visible_width(line) <= width for line in _lines(width, sources, colour=colour))


@pytest.mark.parametrize(
    ("watched", "shown"),
    [
        ([False], "/folder/0"),
        ([True], "/folder/0 (watched)"),
        ([False] * 40, "40"),
        ([False, True, True], "3 (2 watched)"),
        ([], "0"),
    ],
)
def test_a_collection_names_its_one_source_or_counts_them(watched: list[bool], shown: str) -> None:
    sources = [{"path": f"/folder/{n}", "watched": w} for n, w in enumerate(watched)]
    lines = _lines(None, sources)
    head = next(line for line in lines if line.startswith("COLLECTION"))

    row = lines[lines.index(head) + 1]

    assert row[head.index("SOURCES") :] == shown
