"""The short form of ``nox -s faults``: a few kills, and a full disk where root may mount one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faults.full_disk import fill_a_disk
from faults.run import Findings, kill_run


def test_kills_lose_no_event_and_leave_the_index_whole(fetched_model: Path) -> None:
    findings = kill_run(6, 40, seed=20, say=print)

    assert findings.losses == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small tmpfs")
def test_full_disk_is_told_loses_nothing_and_is_left_behind() -> None:
    findings = Findings()
    fill_a_disk(findings, print)

    assert findings.losses == []
