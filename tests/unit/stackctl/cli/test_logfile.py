from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from stackctl.cli.logfile import human, read
from stackctl.cli.output import Output
from stackctl.errors import NotFound


def test_the_last_lines_come_oldest_first(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a\nb\nc\n")

    assert list(read(log, 2)) == ["b", "c"]
    assert list(read(log, 0)) == []


def test_no_log_yet(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no log yet"):
        list(read(tmp_path / "log", 1))


def test_following_goes_over_a_rotation_and_waits_for_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    lines = read(log, 1, follow=True)
    assert next(lines) == "old"

    with log.open("a") as writer:
        writer.write("ha")
        writer.flush()
        finish = threading.Timer(0.05, lambda: (writer.write("lf\n"), writer.flush()))
        finish.start()
        assert next(lines) == "half"
        finish.join()
    log.rename(tmp_path / "log.1")
    log.write_text("new\n")
    assert next(lines) == "new"
    lines.close()  # type: ignore[attr-defined]  # a generator


def test_json_lines_read_as_sentences() -> None:
    line = json.dumps(
        {
            "time": "2026-03-01T10:00:00.123+00:00",
            "level": "ERROR",
            "logger": "stackctl_daemon.jobs",
            "message": "job_failed kind=search.index",
            "pid": 7,
            "request_id": "r1",
            "traceback": "Traceback:\n  boom",
        }
    )

    shown = human(Output(), line)

    assert "ERROR   job_failed kind=search.index request_id=r1\n    Traceback:\n" in shown


def test_other_lines_stay_but_cannot_steer() -> None:
    assert human(Output(), "plain \x1b[31m") == "plain  [31m"
    assert human(Output(), "[1]") == "[1]"
