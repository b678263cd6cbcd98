from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_server import ControlServer, job
from rich.console import Console

from stackctl.cli.context import Here
from stackctl.cli.output import Mode, Output
from stackctl.cli.progress import Bar, Lines, amount, describe, follow
from stackctl.client.view import decode, encode
from stackctl.errors import Interrupted, JobFailed, ModelFetchFailed, Unreachable


@pytest.fixture
def server(own_home: Path) -> Iterator[ControlServer]:
    with ControlServer(own_home / "run" / "stackctld.sock") as running:
        yield running


def _here(mode: Mode = "text") -> Here:
    return Here(Output(mode, out=io.StringIO(), err=io.StringIO()), no_start=True)


def _job(**fields: object) -> object:
    return decode(encode(job(**fields)))  # type: ignore[arg-type]  # any field of a job


def test_a_job_that_has_ended_needs_no_request() -> None:
    assert follow(_here(), _job(state="succeeded")).id == "j1"  # type: ignore[arg-type]  # a view


def test_a_failed_job_raises_its_own_error(server: ControlServer) -> None:
    server.routes["GET", "/v1/jobs/j1/events"] = [
        job("running"),
        job("failed", error_code="model_fetch_failed", error_message="no source gave it"),
    ]

    with pytest.raises(ModelFetchFailed, match="no source") as caught:
        follow(_here("json"), _job(state="queued"))  # type: ignore[arg-type]  # a view

    assert caught.value.hint == "stackctl jobs show j1"


def test_a_cancelled_job_is_a_failure(server: ControlServer) -> None:
    server.routes["GET", "/v1/jobs/j1/events"] = [job("cancelled")]

    with pytest.raises(JobFailed, match="was cancelled"):
        follow(_here(), _job(state="queued"))  # type: ignore[arg-type]  # a view


def test_a_stream_that_ends_early_says_that_the_daemon_went(server: ControlServer) -> None:
    server.routes["GET", "/v1/jobs/j1/events"] = [job("running")]

    with pytest.raises(Unreachable, match="daemon ended while job j1 was running"):
        follow(_here(), _job(state="queued"))  # type: ignore[arg-type]  # a view


def test_ctrl_c_says_that_the_job_goes_on(server: ControlServer) -> None:
    def interrupt(_: object) -> object:
        raise KeyboardInterrupt

    here = _here()
    here.client.jobs.watch = interrupt  # type: ignore[method-assign, assignment]  # the signal's effect

    with pytest.raises(Interrupted, match="j1 goes on") as caught:
        follow(here, _job(state="queued"))  # type: ignore[arg-type]  # a view

    assert caught.value.hint == "stackctl jobs cancel j1"


def test_progress_in_words() -> None:
    progress = {"done": 120, "total": 400, "unit": "file", "rate_per_s": 31.0, "eta_s": 9.0}

    words = describe(decode(encode({**progress, "message": "a\x1bb"})))

    assert words == "120/400 files, 31 files/s, 9 s left: a b"


def test_bytes_are_sizes() -> None:
    progress = {"done": 12 << 20, "total": 87 << 20, "unit": "byte", "rate_per_s": 2048.0}

    words = describe(decode(encode({**progress, "eta_s": 60.0, "message": ""})))

    assert words == "12.0 MiB/87.0 MiB, 2.0 KiB/s, 1 min 0 s left"


@pytest.mark.parametrize(
    ("done", "total", "shown"), [(1, None, "1 file"), (2, None, "2 files"), (1, 7, "1/7 files")]
)
def test_an_amount_is_counted_in_its_unit(done: int, total: int | None, shown: str) -> None:
    progress = decode(encode({"done": done, "total": total, "unit": "file"}))

    assert amount(progress) == shown


def test_logs_get_one_line_in_ten_seconds() -> None:
    now = [0.0]
    written: list[str] = []
    lines = Lines(written.append, lambda: now[0])
    for second in range(25):
        now[0] = float(second)
        lines.update(_job(state="running"))  # type: ignore[arg-type]  # a view

    assert len(written) == 2
    assert written[0].startswith("index 3 paths: 3/3 files")


def test_a_bar_appears_only_after_300_ms() -> None:
    now = [0.0]
    bar = Bar(colour=False, clock=lambda: now[0])
    bar.update(_job(state="running"))  # type: ignore[arg-type]  # a view
    assert bar._live is None

    now[0] = 0.4
    bar.update(_job(state="running"))  # type: ignore[arg-type]  # a view
    try:
        assert bar._live.tasks[0].completed == 3
    finally:
        bar.close()


@pytest.mark.parametrize("width", [60, 100])
def test_the_bar_keeps_to_one_line(width: int) -> None:
    now = [0.0]
    bar = Bar(colour=False, clock=lambda: now[0])
    now[0] = 0.4
    folder = "/a/folder/whose/path/is/longer/than/any/terminal/is/wide" * 3
    long = {"done": 1, "total": 9, "unit": "file", "rate_per_s": 3.0}
    long |= {"eta_s": 2.0, "message": f"{folder}/f.md"}
    try:
        bar.update(_job(state="running", title=f"index {folder}", progress=long))  # type: ignore[arg-type]  # a view
        screen = Console(width=width, file=io.StringIO())
        screen.print(bar._live.get_renderable())
    finally:
        bar.close()

    assert isinstance(screen.file, io.StringIO)
    lines = screen.file.getvalue().splitlines()
    assert len(lines) == 1
    assert "1/9 files" in lines[0]
