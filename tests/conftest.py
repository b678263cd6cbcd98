"""What every test gets: no state of the user's own stack."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point every path of stackctl at the test's own folder."""
    for name in list(os.environ):
        if name.startswith("STACKCTL_"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("STACKCTL_HOME", str(home))
    return home
