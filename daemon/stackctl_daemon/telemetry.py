"""Log lines: JSON in the file, human on a terminal; refuses to log bodies or secrets.

Messages are an event name and ``key=value`` pairs; the request id comes from a context variable.
"""

from __future__ import annotations

import glob
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

import msgspec

from stackctl.errors import BadConfig
from stackctl.settings import DaemonSettings

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that the running code serves; empty outside one."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_HANDLER_NAME = "stackctld"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Encode a record, with its traceback when it has one."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if current := request_id.get():
            fields["request_id"] = current
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


class HumanFormatter(logging.Formatter):
    """A line for a person: time, level, message, request id."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as text."""
        text = super().format(record)
        current = request_id.get()
        return f"{text} request_id={current}" if current else text


def configure(settings: DaemonSettings, file: Path, *, foreground: bool) -> None:
    """Send the root logger to ``file`` (rotated), and to stderr too when in the foreground.

    Handlers of an earlier call are replaced, so that a reload takes the new level and sizes.
    Old logs above the number to keep are removed: the disk they take is
    ``log_max_bytes * (log_files + 1)`` at most.

    Raises:
        BadConfig: there is no such level; nothing was changed.
    """
    level = _level(settings.log_level)
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == _HANDLER_NAME]:
        root.removeHandler(old)
        old.close()
    rotating = RotatingFileHandler(
        file,
        maxBytes=settings.log_max_bytes,
        backupCount=settings.log_files,
        encoding="utf-8",
        delay=True,
    )
    rotating.setFormatter(JsonFormatter())
    handlers: list[logging.Handler] = [rotating]
    if foreground:
        stream = logging.StreamHandler(sys.stderr)
        human = HumanFormatter("%(asctime)s %(levelname)-7s %(name)s %(message)s")
        stream.setFormatter(human if sys.stderr.isatty() else JsonFormatter())
        handlers.append(stream)
    for handler in handlers:
        handler.set_name(_HANDLER_NAME)
        root.addHandler(handler)
    root.setLevel(level)
    _prune(file, settings.log_files)


def _level(name: str) -> int:
    known = logging.getLevelNamesMapping()
    try:
        return known[name.upper()]
    except KeyError as err:
        raise BadConfig(
            f'daemon.log_level "{name}" is no level, expected one of {", ".join(LEVELS)}',
            hint="stackctl config show",
        ) from err


def _prune(file: Path, keep: int) -> None:
    """Remove what an earlier, larger ``log_files`` left, which rotation does not see."""
    for old in file.parent.glob(f"{glob.escape(file.name)}.*"):
        number = old.name.rpartition(".")[2]
        if number.isdecimal() and int(number) > keep:
            old.unlink(missing_ok=True)
