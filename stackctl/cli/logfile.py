"""Reads the daemon's log file, across rotation; refuses to parse more than a line's JSON."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from stackctl.cli.output import Output
from stackctl.cli.text import clean, local_time
from stackctl.client.view import decode
from stackctl.errors import NotFound

POLL_S = 0.2  # the standard library cannot wait for a file to grow
LEVELS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "dim"}
HEAD = frozenset({"time", "level", "logger", "event", "message", "pid", "traceback"})


def read(file: Path, count: int, *, follow: bool = False) -> Iterator[str]:
    """Give the last ``count`` lines, oldest first; then, to follow, each new one.

    Raises:
        NotFound: there is no log yet.
    """
    try:
        log = _open(file)
    except FileNotFoundError as err:
        raise NotFound(f"no log yet: {file}", hint="stackctl up") from err
    with log:
        yield from (line.rstrip("\n") for line in deque(log, maxlen=count))
        if follow:
            # A copy: `follow_from` replaces the file when it is rotated.
            yield from _grow(file, log)


def show(output: Output, line: str) -> None:
    """Print a line for people, or as it is for programs."""
    if output.mode != "text":
        output.out.write(f"{line}\n")
        output.out.flush()
        return
    output.line(None, human(output, line))


def human(output: Output, line: str) -> str:
    """Word a JSON line: time, level, event, then key=value; other lines stay as they are."""
    try:
        fields = vars(decode(line))
    except (ValueError, TypeError):
        return clean(line)
    level = str(fields.get("level", "")).upper()
    event = fields.get("event", fields.get("message", ""))
    rest = " ".join(
        f"{name}={_value(value)}" for name, value in fields.items() if name not in HEAD
    )
    stamp = local_time(str(fields.get("time", "")))
    shown = output.style(f"{level:<7}", LEVELS[level]) if level in LEVELS else f"{level:<7}"
    trace = str(fields.get("traceback", "")).splitlines()
    head = f"{output.style(stamp, 'dim')} {shown} {clean(event)} {clean(rest)}".rstrip()
    return "\n    ".join([head, *(clean(part) for part in trace)])


def _open(file: Path) -> IO[str]:
    return file.open(encoding="utf-8", errors="replace")


def _grow(file: Path, log: IO[str]) -> Iterator[str]:
    """Give whole lines as they are written; a rotated file is read to its end, then the new."""
    current: IO[str] | None = None
    pending = ""
    try:
        while True:
            reader = current or log
            text = reader.readline()
            pending += text
            if pending.endswith("\n"):
                yield pending.rstrip("\n")
                pending = ""
            elif not text:
                if _rotated(file, reader):
                    if current is not None:
                        current.close()
                    current = _open(file)
                    continue
                time.sleep(POLL_S)
    finally:
        if current is not None:
            current.close()


def _rotated(file: Path, reader: IO[str]) -> bool:
    try:
        now = file.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(reader.fileno())
    return (now.st_ino, now.st_dev) != (held.st_ino, held.st_dev)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text) if " " in text else text
