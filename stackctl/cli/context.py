"""What every command is given: how to print, and a client that starts the daemon when needed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import typer

from stackctl import __version__
from stackctl.cli.output import Output

if TYPE_CHECKING:
    from stackctl.client import Client


@dataclass(frozen=True)
class Here:
    """One invocation of the CLI."""

    output: Output
    no_start: bool = False
    verbose: bool = False
    debug: bool = False

    @cached_property
    def client(self) -> Client:
        """A client; its first request starts the daemon unless that is forbidden."""
        forbidden = self.no_start or bool(os.environ.get("STACKCTL_NO_START"))
        return self._client(may_start=not forbidden)

    @cached_property
    def running(self) -> Client:
        """A client that never starts the daemon."""
        return self._client(may_start=False)

    def _client(self, *, may_start: bool) -> Client:
        # Deferred: help, completion and local commands open no socket.
        from stackctl.client import Client, Transport

        return Client(
            Transport(
                starter=self._start if may_start else None,
                on_mismatch=self._mismatch,
                trace=self._trace if self.verbose else None,
            )
        )

    def _trace(self, line: str) -> None:
        sys.stderr.write(f"stackctl: {line}\n")

    def _start(self) -> None:
        # Deferred: as above.
        from stackctl.client.launcher import start

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
