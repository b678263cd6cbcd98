"""Entry of ``stackctl``: fast paths, then the lazy Typer app, then errors become exit codes.

Imports nothing at module level but ``sys``: ``--version`` and completion must cost little more
than the interpreter.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        from stackctl import __version__

        sys.stdout.write(f"stackctl {__version__}\n")
        return
    if arguments[:1] == ["__complete"]:
        from stackctl.cli.live_names import complete

        complete(arguments[1:])
        return
    from stackctl.cli.run import run
    from stackctl_commands.index import INDEX

    sys.exit(run(arguments, INDEX))


if __name__ == "__main__":
    main()
