"""The file of incidents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stackctl.contracts.insight import Change, Insight
from stackctl.errors import StoreCorrupt
from stackctl_daemon.insights import store as module
from stackctl_daemon.insights.store import InsightStore


def insight(name: str, resolved_us: int = 0) -> Insight:
    return Insight(
        id=name,
        kind="traffic-drop",
        severity="warning",
        state="resolved" if resolved_us else "open",
        title="traffic fell",
        subject={"model": "minilm"},
        change=Change(measure="rate_per_s", before=2.0, after=0.0, unit="1/s"),
        began_us=1,
        seen_us=2,
        resolved_us=resolved_us,
        confidence=0.9,
        score=2.0,
        evidence=[[1, 2.0, 3.0]],
    )


def test_what_was_saved_is_there_again(tmp_path: Path) -> None:
    first = InsightStore(tmp_path / "insights.db")
    first.save([insight("a"), insight("b")], 77)
    first.save([insight("a", resolved_us=5)], 78)
    first.close()

    again = InsightStore(tmp_path / "insights.db")

    assert again.load() == ([insight("a", resolved_us=5), insight("b")], 78)
    again.close()


def test_history_is_bounded_and_open_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    store = InsightStore(tmp_path / "insights.db")

    store.save([insight("open"), *(insight(f"r{n}", resolved_us=n) for n in (1, 2, 3, 4))], 9)

    assert [i.id for i in store.load()[0]] == ["open", "r3", "r4"]
    store.close()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "insights.db").write_bytes(b"no database" * 1000)

    with pytest.raises(StoreCorrupt, match=r"insights\.db"):
        InsightStore(tmp_path / "insights.db")


WRITER = """
import sys
from pathlib import Path
import msgspec
from stackctl.contracts.insight import Insight
from stackctl_daemon.insights.store import InsightStore

store = InsightStore(Path(sys.argv[1]))
made = msgspec.json.decode(sys.argv[2], type=Insight)
number = 0
while True:
    number += 1
    # Two rows in one transaction: never one without the other.
    store.save([msgspec.structs.replace(made, id=f"{side}{number}") for side in "ab"], number)
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_all_that_it_acknowledged(tmp_path: Path) -> None:
    import msgspec

    path = tmp_path / "insights.db"
    body = msgspec.json.encode(insight("x")).decode()
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), body], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(20)][-1]

    os.kill(writer.pid, signal.SIGKILL)
    acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.strip())])
    writer.wait(10)
    writer.stdout.close()

    store = InsightStore(path)
    found, checked = store.load()
    store.close()
    ids = {i.id for i in found}
    assert checked >= acknowledged
    assert ids == {f"{side}{n}" for side in "ab" for n in range(1, checked + 1)}
