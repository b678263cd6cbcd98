from __future__ import annotations

import copy
import io
from typing import Any

import msgspec
import pytest
from control_server import COLLECTION, STATUS, job

from stackctl.cli.output import Output
from stackctl.cli.text import visible_width
from stackctl.cli.views import DEVICES, index_lines, job_lines, status_lines
from stackctl.client.view import decode, encode
from stackctl.contracts.device import Device


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


def test_status_keeps_to_the_figures_that_say_most() -> None:
    status: dict[str, Any] = copy.deepcopy(STATUS)
    row = status["summary"]["rows"][0]
    status["summary"]["rows"] = [
        {**row, "name": f"kind{n:02}", "count": 50 - n, "errors": int(n == 29)} for n in range(30)
    ]

    shown = list(status_lines(Output("text", width=60), decode(encode(status))))

    rows = [line.split()[1] for line in shown if " kind" in line]
    assert rows == [f"kind{n:02}" for n in (*range(11), 29)]
    assert "18 more with --json" in shown[-1]
    assert all(len(line) <= 60 for line in shown)


def test_a_fetched_model_is_as_large_as_its_size() -> None:
    progress = {"done": 91_335_235, "total": 91_335_235, "unit": "byte", "message": ""}
    fetched = decode(encode({**job(), "progress": progress}))

    lines = list(job_lines(Output("text"), fetched))

    assert "  progress  87.1 MiB" in lines


def test_a_jobs_values_stand_in_one_column() -> None:
    result = {"indexed": 1, "embedded_tokens": 12, "failed": []}
    shown = decode(encode({**job(), "result": result, "error_message": "no", "error_hint": "ls"}))

    rows = list(job_lines(Output("text"), shown))[1:]

    assert {row.index(row.split(None, 1)[1]) for row in rows} == {2 + len("embedded_tokens") + 2}


@pytest.mark.parametrize(("chunks", "shown"), [(1, "1 chunk in"), (2, "2 chunks in")])
def test_an_index_says_what_it_did(chunks: int, shown: str) -> None:
    done = decode(encode({**job(), "result": {"indexed": 1, "chunks": chunks, "elapsed_s": 1.0}}))

    lines = list(index_lines(Output("text"), done, "default"))

    assert lines[0].startswith("done  1 indexed, 0 unchanged, 0 removed; ")
    assert shown in lines[0]


@pytest.mark.parametrize("width", [60, 80])
def test_devices_keep_state_and_memory_on_a_narrow_terminal(width: int) -> None:
    device = Device(
        id="cuda:0",
        kind="cuda",
        name="NVIDIA H100 80GB HBM3",
        worker_state="restarting",
        execution_provider="CUDAExecutionProvider",
        models=["all-minilm-l6-v2", "traceforge-title"],
        memory_total_bytes=80 << 30,
        memory_used_bytes=12 << 30,
        worker_pid=7,
    )

    head, row = Output("text", width=width).table([decode(msgspec.json.encode(device))], DEVICES)

    assert max(len(head), len(row)) <= width
    assert "restarting" in row
    assert row.endswith("12.0 GiB / 80.0 GiB")
