from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stackctl.contracts.event import Event
from stackctl.errors import Conflict, StoreCorrupt
from stackctl_daemon.analytics.frame import Row, decode_rows, encode_frame
from stackctl_daemon.analytics.segment_log import Position
from stackctl_daemon.analytics.store import Store


def rows(events: list[Event]) -> list[Row]:
    data = encode_frame(events)
    return decode_rows(data, 0, len(data))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "analytics.duckdb"


def test_rows_and_their_place_survive_a_reopen(
    path: Path, make_events: Callable[..., list[Event]]
) -> None:
    store = Store(path)
    store.insert(rows(make_events(3, name="a\0é")), Position(7, 99))
    store.close()

    again = Store(path)
    summary, stored = again.summary(0, 2**53)
    assert again.position == Position(7, 99)
    assert (stored, summary[0].name) == (3, "a\0é")
    again.close()


def test_same_id_is_stored_once_within_and_across_batches(
    path: Path, make_events: Callable[..., list[Event]]
) -> None:
    store = Store(path)

    counts = [
        store.insert(rows(make_events(3) + make_events(3)), Position(1, 1)),
        store.insert(rows(make_events(5)), Position(1, 2)),
        store.insert(rows(make_events(5)), Position(1, 3)),
    ]
    assert counts == [3, 2, 0]
    assert store.check() == 5
    store.close()


def test_summary_counts_the_window_exactly(
    path: Path, make_events: Callable[..., list[Event]]
) -> None:
    store = Store(path)
    timed = [
        e
        for n in range(1, 102)
        for e in make_events(1, f"d{n}", duration_s=n / 100, items=2, time_us=1000 + n)
    ]
    store.insert(rows(timed), Position(1, 1))
    store.insert(rows(make_events(1, "j", kind="job", outcome="error")), Position(1, 2))

    everything, stored = store.summary(0, 2**53)
    window, _ = store.summary(1050, 1060)
    assert stored == 102
    assert [(r.kind, r.count, r.errors, r.items) for r in everything] == [
        ("job", 1, 1, 0),
        ("request", 101, 0, 202),
    ]
    assert (everything[1].p50_s, everything[1].p95_s) == pytest.approx((0.51, 0.96))
    assert everything[1].p99_s == pytest.approx(1.0)
    assert [r.count for r in window] == [10]
    store.close()


def test_retention_drops_by_time_and_by_age_of_loading(
    path: Path, make_events: Callable[..., list[Event]]
) -> None:
    store = Store(path)
    store.insert(rows(make_events(2, "old", time_us=10)), Position(1, 1))
    store.insert(rows(make_events(3, "future", time_us=2**53)), Position(1, 2))

    assert store.drop_before(1000) == 2
    assert store.check() == 3
    assert store.drop_before(2**52) == 3
    store.close()


@pytest.mark.parametrize("damage", ["garbage", "cut", "flip"])
def test_damaged_file_is_corrupt_and_can_be_set_aside(
    path: Path, make_events: Callable[..., list[Event]], damage: str
) -> None:
    store = Store(path)
    store.insert(rows(make_events(2000)), Position(1, 1))
    store.close()
    data = bytearray(path.read_bytes())
    if damage == "garbage":
        data[:] = b"no database" * 1000
    elif damage == "cut":
        del data[5000:]
    else:
        for at in range(12_288, len(data), 100):  # behind the headers
            data[at] ^= 0xFF
    path.write_bytes(data)

    with pytest.raises(StoreCorrupt, match=r"analytics\.duckdb"):
        store.check()
    moved = store.set_aside()
    assert [p.read_bytes() for p in moved if p.suffix != ".wal"] == [bytes(data)]
    assert store.position == Position(0, 0)
    store.close()


def test_file_of_a_newer_release_is_left_alone(path: Path) -> None:
    import duckdb

    store = Store(path)
    assert store.check() == 0
    store.close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE schema_version SET version = 99").fetchall()

    with pytest.raises(Conflict, match="schema 99"):
        store.check()


def test_file_open_in_another_process_is_a_conflict_and_not_damage(path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; c = duckdb.connect(sys.argv[1]);"
            "print('open', flush=True); sys.stdin.read()",
            str(path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    store = Store(path)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(Conflict, match="another process"):
            store.check()
    finally:
        holder.communicate(timeout=30)
    assert store.check() == 0
    store.close()


def test_a_disk_full_at_creation_leaves_no_stub(tmp_path: Path) -> None:
    """Seen on a full tmpfs: DuckDB left 4,096 bytes that it could not open again."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from stackctl.errors import DiskFull\n"
        "from stackctl_daemon.analytics.store import Store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))\n"
        "store = Store(Path(sys.argv[1]))\n"
        "try: store.position\n"
        "except DiskFull: pass\n"
        "else: sys.exit('no error')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "store.position; store.close()\n"
    )
    path = tmp_path / "analytics.duckdb"

    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)

    assert done.returncode == 0
    assert [file.name for file in tmp_path.iterdir()] == ["analytics.duckdb"]


def test_the_share_that_retention_would_take_is_known_before(
    path: Path, make_events: Callable[..., list[Event]]
) -> None:
    store = Store(path)

    assert store.share_before(2**60) == 0.0  # of nothing
    events = make_events(1, "a", time_us=5) + make_events(3, "b", time_us=50)
    store.insert(rows(events), Position(1, 1))
    assert [store.share_before(cutoff) for cutoff in (5, 6, 2**60)] == [0.0, 0.25, 1.0]
    store.close()
