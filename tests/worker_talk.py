"""The worker as a process of its own, spoken to as the daemon does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tiny_model import WIDTH, write_graph, write_tokenizer

from stackctl_daemon.inference import protocol as wire

WAIT_S = 60.0


class Talk:
    """The daemon's end of a worker's socket."""

    def __init__(self, channel: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._channel = channel
        self._stream = channel.makefile("rb")

    def send(self, *commands: wire.Command) -> None:
        self._channel.sendall(b"".join(map(wire.pack, commands)))

    def read(self) -> tuple[wire.Report, bytes]:
        header, body = wire.sizes(self._stream.read(wire.PREFIX.size))
        return wire.read_report(self._stream.read(header)), self._stream.read(body)

    def answer(self) -> tuple[wire.Answer | wire.Refused, np.ndarray]:
        """Give the next answer to a request, and its vectors."""
        while True:
            report, body = self.read()
            if isinstance(report, wire.Answer):
                return report, np.frombuffer(body, "<f4").reshape(report.tensors[0].shape)
            if isinstance(report, wire.Refused):
                return report, np.empty((0, 0), np.float32)

    def end(self) -> int:
        """Close the socket and give the worker's exit status."""
        self._stream.close()
        self._channel.close()
        return self.process.wait(WAIT_S)


@contextmanager
def working(
    kind: str = "cpu", *, parent: int | None = None, cores: str = "", batch_tokens: int = 16
) -> Iterator[Talk]:
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT_S)
    command = [sys.executable, "-m", "stackctl_daemon.inference.worker_main"]
    command += ["--fd", str(theirs.fileno()), "--parent", str(parent or os.getpid())]
    command += ["--kind", kind, "--cores", cores, "--batch-tokens", str(batch_tokens)]
    with ours, theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        talk = Talk(ours, process)
        try:
            yield talk
        finally:
            talk.end()


def loading(
    directory: Path, *, dimensions: int = WIDTH, key: str = "tiny-1", **terms: Any
) -> wire.Load:
    graph, tokenizer = write_graph(directory, pooled=True), write_tokenizer(directory)
    load = wire.Load(
        key, "tiny", "text-embedding", str(directory), str(graph), str(tokenizer), 8, dimensions
    )
    return msgspec.structs.replace(load, **terms)
