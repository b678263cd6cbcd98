from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stackctl.errors import BadConfig
from stackctl.settings import DaemonSettings
from stackctl_daemon import telemetry

log = logging.getLogger("test")


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """Give back the root logger as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def _sizes(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_size for p in folder.iterdir()}


def test_logs_rotate_and_never_take_more_than_their_share(tmp_path: Path) -> None:
    settings = DaemonSettings(log_max_bytes=2000, log_files=2)
    telemetry.configure(settings, tmp_path / "d.log", foreground=False)

    for number in range(200):
        log.info("line number=%d", number)

    sizes = _sizes(tmp_path)
    assert set(sizes) == {"d.log", "d.log.1", "d.log.2"}
    assert max(sizes.values()) <= 2000
    last = (tmp_path / "d.log").read_text().splitlines()[-1]
    assert json.loads(last)["message"] == "line number=199"


def test_fewer_logs_to_keep_remove_those_above(tmp_path: Path) -> None:
    many = DaemonSettings(log_max_bytes=1000, log_files=5)
    telemetry.configure(many, tmp_path / "d.log", foreground=False)
    for number in range(100):
        log.info("line number=%d", number)
    assert "d.log.5" in _sizes(tmp_path)
    (tmp_path / "d.log.mine").touch()

    telemetry.configure(
        msgspec.structs.replace(many, log_files=1), tmp_path / "d.log", foreground=False
    )

    assert set(_sizes(tmp_path)) == {"d.log", "d.log.1", "d.log.mine"}


def test_an_unknown_level_is_refused_and_nothing_changes(
    tmp_path: Path, root: logging.Logger
) -> None:
    telemetry.configure(DaemonSettings(), tmp_path / "d.log", foreground=False)
    before = list(root.handlers)

    with pytest.raises(BadConfig, match='log_level "LOUD" is no level, expected one of DEBUG'):
        telemetry.configure(DaemonSettings(log_level="LOUD"), tmp_path / "d.log", foreground=False)

    assert (root.handlers, root.level) == (before, logging.INFO)
