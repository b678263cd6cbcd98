"""Runs the command line and turns every way of ending into an exit status and two lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import typer

from stackctl.cli.arguments import MOVABLE, hoist
from stackctl.cli.group import Index
from stackctl.cli.root import build
from stackctl.client.view import encode
from stackctl.errors import Interrupted, Invalid, StackctlError

# Typer's base of usage errors: public in 0.28 only under this name's parents.
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
    except BrokenPipeError:
        # The reader of our stdout left, as `head` does; the interpreter's last flush must not
        # complain about it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as err:
        if debug:
            raise
        bug = StackctlError(
            f"{type(err).__name__}: {err}", hint=f"stackctl --debug {' '.join(arguments)}"
        )
        return report(bug, as_json=as_json)


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
    option = getattr(err, "option_name", "")
    if option and message.startswith("no such option"):
        known = [o for p in err.ctx.command.get_params(err.ctx) for o in p.opts] if err.ctx else []
        close = _closest(option, [*known, *MOVABLE])
        message = f'no such option "{option}"'
        message += f'; did you mean "{close}"?' if close else ""
    path = err.ctx.command_path if err.ctx else "stackctl"
    return Invalid(message.replace(". Did", "; did"), hint=f"{path} --help")


def _closest(option: str, known: Sequence[str]) -> str:
    """Give the option that was probably meant; nothing when none is near.

    The dashes are left out of the comparison: they make any two options look alike.
    """
    names = {name.lstrip("-"): name for name in known if name.startswith("--")}
    found = get_close_matches(option.lstrip("-"), names, n=1, cutoff=0.65)
    return names[found[0]] if found else ""
