from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stackctl_daemon.inference.state_file import StateFile


def test_threads_that_write_at_once_leave_the_latest_values(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    file: StateFile[int] = StateFile(path, int)
    values: dict[str, int] = {}

    def put(number: int) -> None:
        values[f"n{number}"] = number
        file.write(values)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(60)))

    assert StateFile(path, int).read() == values
    assert [item.name for item in tmp_path.iterdir()] == ["state.json"]


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("{")

    assert StateFile(path, int).read() == {}
    assert path.with_suffix(".damaged").exists()
