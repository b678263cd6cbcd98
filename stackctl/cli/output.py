"""Prints answers on stdout as text, JSON or plain lines; refuses to print anything else there.

Piped output is never coloured nor cut, and control characters of foreign text (file names,
snippets) never reach a terminal.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO

from stackctl.cli.table import Column, render
from stackctl.cli.text import clean
from stackctl.client.view import encode, mapping
from stackctl.errors import Failed

Mode = Literal["text", "json", "plain", "quiet"]

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


@dataclass(frozen=True)
class Output:
    """Where and how answers are printed."""

    mode: Mode = "text"
    colour: bool = False
    width: int | None = None
    """Columns of the terminal; None when piped: nothing is cut."""
    out: TextIO = sys.stdout
    err: TextIO = sys.stderr

    def show(
        self,
        value: Any,
        text: Callable[[Any], Iterable[str]],
        *,
        quiet: Callable[[Any], Iterable[str]] | None = None,
    ) -> None:
        """Print one record; ``text`` gives its lines for people, ``quiet`` its bare id if any."""
        if self.mode == "json":
            self._lines([encode(value, indent=2)])
        elif self.mode == "plain":
            self._lines(f"{name}\t{clean(entry)}" for name, entry in _flatten("", value))
        elif self.mode == "quiet":
            self._lines(quiet(value) if quiet else ())
        else:
            self._lines(text(value))

    def items(
        self,
        items: Sequence[Any],
        columns: Sequence[Column],
        *,
        empty: str,
        whole: Any = None,
        below: Iterable[str] = (),
    ) -> None:
        """Print a list.

        ``whole`` is the JSON object when it holds more than the items, ``below`` its lines for
        people.
        """
        if self.mode == "json":
            self._lines([encode({"items": items} if whole is None else whole, indent=2)])
        elif self.mode == "plain":
            self._lines("\t".join(clean(c.plain(item)) for c in columns) for item in items)
        elif self.mode == "quiet":
            self._lines(clean(columns[0].plain(item)) for item in items)
        elif items:
            self._lines([*self.table(items, columns), *below])
        else:
            self.note(empty)
            self._lines(below)

    def line(self, value: Any, text: str) -> None:
        """Print one element of a stream: a JSON line, or ``text``."""
        self._lines([encode(value) if self.mode == "json" else text])

    def note(self, text: str) -> None:
        """Tell people something on stderr; silent for programs."""
        if self.mode == "text":
            self.err.write(f"{text}\n")
            self.err.flush()

    def table(self, items: Sequence[Any], columns: Sequence[Column]) -> list[str]:
        """Lay items out in columns that fit the terminal."""
        lines = render(items, columns, self.width)
        return [self.style(lines[0], "bold"), *lines[1:]]

    def style(self, text: str, *names: str) -> str:
        """Colour text where colours are on."""
        if not self.colour or not text:
            return text
        return f"\x1b[{';'.join(STYLES[name] for name in names)}m{text}\x1b[0m"

    def write(self, text: str) -> None:
        """Print text as it is, all of it or an error.

        Raises:
            Failed: stdout takes no more, as a file on a full disk.
            BrokenPipeError: the reader left, as `head` does.
        """
        try:
            self.out.write(text)
            # Now, not at the interpreter's end, where a full disk can no longer be reported.
            self.out.flush()
        except BrokenPipeError:
            raise
        except OSError as err:
            _give_up(self.out)
            raise Failed(
                f"the answer could not be written to stdout: {err.strerror}", hint="df -h ."
            ) from err

    def _lines(self, lines: Iterable[str]) -> None:
        self.write("".join(f"{line}\n" for line in lines))


def make(mode: Mode, *, no_color: bool = False) -> Output:
    """Give the output of this process: colour and width are those of its stdout."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed by the caller (`>&-`): what is printed goes nowhere, as in other programs.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name that is not UTF-8 must not end the command.
            stream.reconfigure(errors="backslashreplace")
    terminal = sys.stdout.isatty()
    colour = (terminal and os.environ.get("TERM") != "dumb") or bool(os.environ.get("FORCE_COLOR"))
    # The one who wants none wins, as in Python's own programs.
    no_color = no_color or bool(os.environ.get("NO_COLOR"))
    width = shutil.get_terminal_size((80, 24)).columns if terminal else None
    return Output(mode, colour and not no_color, width, sys.stdout, sys.stderr)


def _flatten(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    """Give dotted names and scalar values of a nested reply."""
    if isinstance(value, (list, tuple)):
        for number, entry in enumerate(value):
            yield from _flatten(f"{prefix}.{number}", entry)
    elif isinstance(value, (dict,)) or hasattr(value, "__dict__"):
        for name, entry in mapping(value).items():
            yield from _flatten(f"{prefix}.{name}" if prefix else name, entry)
    else:
        yield prefix, _scalar(value)


def _scalar(value: Any) -> Any:
    """A value as JSON words it, but nothing for null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def _give_up(stream: TextIO) -> None:
    """Let the interpreter's last flush go nowhere instead of failing once more."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)
