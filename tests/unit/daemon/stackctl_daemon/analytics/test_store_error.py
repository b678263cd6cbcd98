from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stackctl.errors import DiskFull, Failed, StackctlError, StoreCorrupt
from stackctl_daemon.analytics.store_error import translate

PATH = Path("data") / "analytics.duckdb"


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, Failed)],
)
def test_an_error_of_the_file_system_is_ours_with_its_reason(
    number: int, kind: type[StackctlError]
) -> None:
    found = translate(OSError(number, os.strerror(number)), PATH)

    assert type(found) is kind
    assert str(PATH) in found.message or os.strerror(number) in found.message


def test_a_write_ahead_log_of_another_file_is_damage_that_repair_mends(tmp_path: Path) -> None:
    """DuckDB's own words: a file opened beside another one's log."""
    import duckdb

    for name in ("a", "b"):
        connection = duckdb.connect(str(tmp_path / name))
        connection.execute(f"CREATE TABLE {name} (n INTEGER)").fetchall()
        connection.execute("CHECKPOINT").fetchall()
        connection.execute(f"INSERT INTO {name} VALUES (1)").fetchall()
        log = (tmp_path / f"{name}.wal").read_bytes()
        connection.close()
    (tmp_path / "a.wal").write_bytes(log)

    with pytest.raises(duckdb.Error) as caught:
        duckdb.connect(str(tmp_path / "a"))
    found = translate(caught.value, tmp_path / "a", opening=True)
    assert type(found) is StoreCorrupt
    assert found.hint == "stackctl doctor --repair"
