"""What every test of the dashboard gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from control_server import ControlServer
from dashboard import Run, served


@pytest.fixture
def run(own_home: Path) -> Run:
    """Run a test's coroutine beside a scripted daemon."""

    def runner(test: Callable[[ControlServer], Coroutine[Any, Any, None]]) -> ControlServer:
        with served(own_home) as server:
            asyncio.run(test(server))
            return server

    return runner
