"""What every command is given: how to print, and a client that starts the daemon when needed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property

import typer

from stackctl import __version__
from stackctl.cli.output import Output
from stackctl.client import Client, Transport
from stackctl.client.launcher import start


@dataclass(frozen=True)
class Here:
    """One invocation of the CLI."""

    output: Output
    no_start: bool = False
    verbose: int = 0
    debug: bool = False

    @cached_property
    def client(self) -> Client:
        """A client; its first request starts the daemon unless that is forbidden."""
        forbidden = self.no_start or bool(os.environ.get("STACKCTL_NO_START"))
        return Client(
            Transport(starter=None if forbidden else self._start, on_mismatch=self._mismatch)
        )

    @cached_property
    def running(self) -> Client:
        """A client that never starts the daemon."""
        return Client(Transport(on_mismatch=self._mismatch))

    def _start(self) -> None:
        self.output.note("starting the daemon")
        start()

    def _mismatch(self, version: str) -> None:
        sys.stderr.write(
            f"warning: the daemon runs stackctl {version}, this is {__version__}"
            " (fix: stackctl down && stackctl up)\n"
        )


def here(ctx: typer.Context) -> Here:
    """Give the invocation that a command runs in."""
    found = ctx.find_object(Here)
    if found is None:
        raise RuntimeError("a command was run outside of the root group")
    return found
