from __future__ import annotations

from pathlib import Path

from stackctl_daemon.analytics import store_file

TABLES = "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (7);"


def test_what_an_earlier_process_left_half_made_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    (tmp_path / "s.duckdb.new").write_bytes(b"stub")
    (tmp_path / "s.duckdb.new.wal").write_bytes(b"stub")

    store_file.create(path, TABLES, {})
    import duckdb

    with duckdb.connect(str(path)) as opened:
        assert opened.execute("FROM t").fetchall() == [(7,)]
    assert [file.name for file in tmp_path.iterdir()] == ["s.duckdb"]


def test_a_new_file_is_never_beside_the_log_of_the_one_set_aside(tmp_path: Path) -> None:
    """A kill between the two renames left such a log; DuckDB refused the new file for ever."""
    path = tmp_path / "s.duckdb"
    orphan = tmp_path / "s.duckdb.wal"
    orphan.write_bytes(b"of another file")

    store_file.create(path, TABLES, {})

    [aside] = tmp_path.glob("s.duckdb.corrupt-*.wal")
    assert aside.read_bytes() == b"of another file"
    assert not orphan.exists()


def test_files_set_aside_in_the_same_second_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    for content in (b"1", b"2", b"3"):
        path.write_bytes(content)
        path.with_name("s.duckdb.wal").write_bytes(content + b"w")

        moved = store_file.set_aside(path)

        assert [file.read_bytes() for file in moved] == [content, content + b"w"]
        assert moved[1].name == f"{moved[0].name}.wal"
    assert len(list(tmp_path.iterdir())) == 6
