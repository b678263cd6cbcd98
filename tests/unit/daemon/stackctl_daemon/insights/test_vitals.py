"""Metrics of the daemon's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stackctl_daemon.insights.vitals import measure


def test_disk_and_memory_are_the_machines(tmp_path: Path) -> None:
    disk, memory = measure(tmp_path)

    assert (disk.kind, disk.name) == ("metric", "disk.free_bytes")
    free = shutil.disk_usage(tmp_path).free
    assert disk.attributes["value"] == pytest.approx(free, rel=0.2)
    assert memory.attributes["value"] > 5_000_000
