"""The dashboard on a real daemon and on a real terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pytest
from dashboard import until, until_shown
from harness import Stack

from stackctl.tui import launch
from stackctl.tui.app import Dashboard, screen_text
from stackctl.tui.bindings import PAGES

IDLE_CORE = 0.03
"""Share of a core that an open dashboard may take."""
IDLE_S = 10.0
GROWTH_BYTES = 4 << 20


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A daemon without a model, and this process in its home."""
    with Stack(model=False) as running:
        monkeypatch.setenv("STACKCTL_HOME", str(running.home))
        yield running


class Terminal:
    """A dashboard on a pseudo-terminal of 120 by 40, read by a thread of its own."""

    def __init__(self, stack: Stack, *arguments: str) -> None:
        self._fd, inner = pty.openpty()
        ioctl(inner, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stackctl", "tui", *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=stack.env | {"TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(inner)
        self.pid = self._process.pid
        self.shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            select.select([self._fd], [], [])
            try:
                self.shown += os.read(self._fd, 65536)
            except OSError:
                return

    def press(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + 20
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown[-2000:]
            self._reader.join(0.05)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def leave(self) -> int:
        self.press(b"q")
        status = self._process.wait(20)
        self._reader.join(5)
        os.close(self._fd)
        return status


@pytest.mark.parametrize("page", PAGES)
def test_every_screen_of_a_real_daemon_can_be_printed(stack: Stack, page: str) -> None:
    text = launch.text(page, width=100, height=30)

    assert PAGES[page][1][:3] in text
    assert "another shape" not in text
    assert "loading ..." not in text


def test_a_daemon_that_is_killed_and_started_again_is_shown_again(stack: Stack) -> None:
    async def test() -> None:
        board = Dashboard(launch.client(), page="devices", period_s=0.1)
        async with board.run_test(size=(100, 30)) as pilot:
            await until_shown(pilot, "cpu:0")
            stack.kill9()
            await until_shown(pilot, "STALE for")
            assert "cpu:0" in screen_text(board)
            await asyncio.to_thread(stack.start)
            await until(pilot, lambda: board.gone is None)
            assert "STALE" not in screen_text(board)

    asyncio.run(test())


def test_an_open_dashboard_idles_below_its_share_and_does_not_grow(stack: Stack) -> None:
    terminal = Terminal(stack)
    terminal.wait_for(b"cpu:0")
    terminal.press(b"23571")
    terminal.wait_for(b"Insights")
    # Measured over a span of time: what is awaited is the span itself.
    threading.Event().wait(3)
    began, cpu_s, memory = time.monotonic(), terminal.cpu_s(), terminal.memory_bytes()
    threading.Event().wait(IDLE_S)
    share = (terminal.cpu_s() - cpu_s) / (time.monotonic() - began)
    growth = terminal.memory_bytes() - memory

    assert terminal.leave() == 0
    assert share < IDLE_CORE, f"{share:.1%} of a core"
    assert growth < GROWTH_BYTES, f"{growth} bytes"
