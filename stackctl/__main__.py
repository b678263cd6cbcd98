"""Entry of ``stackctl``: fast paths, then the lazy Typer app, then errors become exit codes.

Imports nothing at module level but ``sys``: ``--version`` and completion must cost little more
than the interpreter.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit."""
    arguments = sys.argv[1:]
    _open_closed_streams()
    if arguments == ["--version"]:
        from stackctl import __version__

        try:
            sys.stdout.write(f"stackctl {__version__}\n")
            sys.stdout.flush()
        except OSError as err:
            from stackctl.cli.run import unwritten

            sys.exit(unwritten(err, as_json=False))
        return
    if arguments[:1] == ["__complete"]:
        from stackctl.cli.live_names import complete

        complete(arguments[1:])
        return
    from stackctl.cli.run import run
    from stackctl_commands.index import INDEX

    sys.exit(run(arguments, INDEX))


def _open_closed_streams() -> None:
    """Let what is printed go nowhere where the caller closed a stream (``>&-``)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            stream = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115, PTH123 - as long as the process
            setattr(sys, name, stream)


if __name__ == "__main__":
    main()
