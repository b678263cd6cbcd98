"""Runs the command line and turns every way of ending into an exit status and two lines."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from stackctl.cli.arguments import MOVABLE, hoist
from stackctl.cli.group import Index
from stackctl.cli.root import build
from stackctl.client.view import encode
from stackctl.errors import Denied, DiskFull, Failed, Interrupted, Invalid, StackctlError

# Typer's base of usage errors: public in 0.28 only under this name's parents.
WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
"""What a write to stdout ends with, which has no file name."""
USAGE_ERROR: type[BaseException] = typer.BadParameter.__mro__[1]


def run(arguments: Sequence[str], index: Index) -> int:
    """Run ``arguments`` and give the exit status.

    The one place that catches: commands and clients only raise.
    """
    ordered = hoist(arguments)
    debug = "--debug" in ordered
    as_json = "--json" in ordered
    try:
        status = _invoke(ordered, index)
        sys.stdout.flush()
        return status
    except USAGE_ERROR as err:
        return report(_usage(err), as_json=as_json)
    except StackctlError as err:
        if debug:
            raise
        return report(err, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return report(Interrupted("interrupted"), as_json=as_json)
    except BrokenPipeError as err:
        return unwritten(err, as_json=as_json)
    except Exception as err:
        if debug:
            raise
        if isinstance(err, OSError) and err.filename is None and err.errno in WRITE_ERRORS:
            return unwritten(err, as_json=as_json)
        refused = _refused(err) if isinstance(err, OSError) else None
        if refused is not None:
            return report(refused, as_json=as_json)
        bug = StackctlError(
            f"{type(err).__name__}: {err}", hint=f"stackctl --debug {' '.join(arguments)}"
        )
        return report(bug, as_json=as_json)


def unwritten(err: OSError, *, as_json: bool) -> int:
    """Give the exit status where stdout takes no more, and say why unless its reader left."""
    # The interpreter's last flush must not fail once more.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
    if isinstance(err, BrokenPipeError):
        return 0  # as under `head`
    failed = Failed(f"the answer could not be written to stdout: {err.strerror}", hint="df -h .")
    return report(failed, as_json=as_json)


def _refused(err: OSError) -> StackctlError | None:
    """Word what the system refuses on a path; None for what must be our bug."""
    if err.filename is None:
        return None
    path = os.fsencode(err.filename).decode("utf-8", "backslashreplace")
    look = f"ls -ld {shlex.quote(path)}"
    if isinstance(err, PermissionError):
        return Denied(f"{path} may not be opened by user {os.getuid()}", hint=look)
    if isinstance(err, NotADirectoryError):
        above = next((p for p in Path(path).parents if p.exists()), Path("/"))
        return Failed(f"{path}: {above} is no folder", hint=f"ls -ld {shlex.quote(str(above))}")
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        parent = shlex.quote(str(Path(path).parent))
        return DiskFull(f"no space left for {path}", hint=f"df -h {parent}")
    return None


def _invoke(ordered: list[str], index: Index) -> int:
    # Not Typer's own main: that one turns Ctrl-C and a closed pipe into statuses of its own.
    root = build(index)
    try:
        with root.make_context("stackctl", ordered) as ctx:
            root.invoke(ctx)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def report(err: StackctlError, *, as_json: bool) -> int:
    """Write an error to stderr and give its exit status."""
    if as_json:
        shape = {
            "code": err.code,
            "message": err.message,
            "hint": err.hint,
            "exit_code": err.exit_code,
        }
        sys.stderr.write(encode({"error": shape}) + "\n")
    else:
        sys.stderr.write(f"error: {err.message}\n")
        if err.hint:
            sys.stderr.write(f"fix: {err.hint}\n")
    return err.exit_code


def _usage(err: Any) -> Invalid:
    """Word a usage error as one of ours, with a did-you-mean and the help that applies."""
    message = err.format_message().rstrip(".").replace("'", '"')
    message = message[:1].lower() + message[1:]
    path = err.ctx.command_path if err.ctx else "stackctl"
    option = getattr(err, "option_name", "")
    if option and message.startswith("no such option"):
        known = [o for p in err.ctx.command.get_params(err.ctx) for o in p.opts] if err.ctx else []
        close = _closest_option(option, [*known, *MOVABLE])
        message = f'no such option "{option}"{_meant(close)}'
    elif command := re.match(r'no such command "([^"]*)"', message):
        known = err.ctx.command.list_commands(err.ctx) if err.ctx else []
        message = f"{command[0]}{_meant(_closest_command(command[1], known))}"
    else:
        message = _in_one_line(_range(message, getattr(err, "param", None)))
    return Invalid(message.replace(". Did", "; did"), hint=f"{path} --help")


def _meant(name: str) -> str:
    return f'; did you mean "{name}"?' if name else ""


def _range(message: str, param: Any) -> str:
    """Say which numbers are expected instead of the name of a parser's type."""
    kind = getattr(param, "type", None)
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    whole = "a number" if "float" in str(getattr(kind, "name", "")) else "a whole number"
    expected = whole
    if least is not None and most is not None:
        expected = f"{whole} from {least} to {most}"
    elif least is not None:
        expected = f"{whole} of at least {least}"
    elif most is not None:
        expected = f"{whole} of at most {most}"
    wrong = r"is not a valid (int|float|integer)( range)?$"
    message = re.sub(wrong, f"is not {expected}", message)
    return re.sub(r": (\S+) is not in the range .*$", rf': "\1" is not {expected}', message)


def _in_one_line(message: str) -> str:
    """Put the choices that a missing argument has, a line each, behind it."""
    head, found, rest = message.partition(". Choose from:")
    if not found:
        return message
    *most, last = [f'"{word}"' for word in rest.replace(",", " ").split()]
    return f"{head}, expected {', '.join(most)}{' or ' if most else ''}{last}"


def _closest_option(option: str, known: Sequence[str]) -> str:
    """Give the option that was probably meant; nothing when none is near.

    The dashes are left out of the comparison: they make any two options look alike.
    """
    names = {name.lstrip("-"): name for name in known if name.startswith("--")}
    found = get_close_matches(option.lstrip("-"), names, n=1, cutoff=0.65)
    return names[found[0]] if found else ""


def _closest_command(command: str, known: Sequence[str]) -> str:
    """Give the command that was probably meant: one that begins so, or is near."""
    begun = [name for name in known if len(command) >= 3 and name.startswith(command)]
    # Stricter than for options: names are short, and "bogus" is two thirds of "logs".
    found = begun or get_close_matches(command, known, n=1, cutoff=0.7)
    return found[0] if found else ""
