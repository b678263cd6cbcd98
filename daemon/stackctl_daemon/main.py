"""Entry of ``stackctld``: arguments, going to the background, exit status."""

from __future__ import annotations

import argparse
import faulthandler
import os
import select
import sys
import tempfile
from pathlib import Path

import msgspec

from stackctl import __version__, paths
from stackctl.contracts.error import ErrorBody
from stackctl.errors import BY_CODE, StackctlError
from stackctl_daemon import failpoints
from stackctl_daemon.app import App, Target

START_TIMEOUT_S = 30.0
MAX_STDERR_BYTES = 1_000_000
_READY = b"ready"


def main(argv: list[str] | None = None) -> int:
    """Run ``stackctld`` and give its exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.print_openapi:
        sys.stdout.buffer.write(_openapi(arguments.target))
        return 0
    try:
        failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
        if arguments.foreground:
            return _serve(arguments.target, foreground=True, ready_fd=None)
        return _detach(arguments.target)
    except StackctlError as err:
        return _complain(ErrorBody(code=err.code, message=err.message, hint=err.hint))
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stackctld",
        description="The stackctl daemon; without flags it goes to the background.",
    )
    parser.add_argument("--foreground", action="store_true", help="stay, and log to stderr too")
    parser.add_argument(
        "--target",
        choices=("all", "inference", "search", "analytics"),
        default="all",
        help="the areas to run (default: all)",
    )
    parser.add_argument(
        "--print-openapi", action="store_true", help="print the API and start nothing"
    )
    parser.add_argument("--version", action="version", version=f"stackctld {__version__}")
    return parser


def _openapi(target: Target) -> bytes:
    # Deferred: only this flag needs them.
    from stackctl.settings import Settings
    from stackctl_daemon import system_routes
    from stackctl_daemon.http import openapi

    async def never() -> None:
        raise AssertionError("nothing is served")

    # A home of its own: building must not see, or touch, the user's.
    with tempfile.TemporaryDirectory() as home:
        os.environ["STACKCTL_HOME"] = home
        app = App(Settings(), ["defaults"], target, probe=False)
        service = system_routes.SystemService(app, stop=lambda: None, reload=never)
        app.registry.add(*system_routes.routes(service, app))
        return openapi.encode(app.registry)


def _serve(target: Target, *, foreground: bool, ready_fd: int | None) -> int:
    # Deferred: the parent that only waits for us does not need the server.
    from stackctl_daemon import process

    faulthandler.enable()

    def ready() -> None:
        if ready_fd is not None:
            os.write(ready_fd, _READY)
            os.close(ready_fd)

    return process.run(target, foreground=foreground, ready=ready)


def _detach(target: Target) -> int:
    """Start the daemon as a session of its own and wait until it is ready or says why not."""
    state = paths.state_dir()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        os.waitpid(child, 0)
        return _await_ready(reader)
    os.close(reader)
    os.setsid()
    if os.fork():
        os._exit(0)
    status = _grandchild(target, writer, state / "stackctld.stderr")
    sys.stderr.flush()
    raise SystemExit(status)


def _grandchild(target: Target, writer: int, stderr: Path) -> int:
    os.chdir("/")
    _set_aside(stderr)
    null = os.open(os.devnull, os.O_RDWR)
    output = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        return _serve(target, foreground=False, ready_fd=writer)
    except StackctlError as err:
        body = ErrorBody(code=err.code, message=err.message, hint=err.hint)
        status = err.exit_code
    except Exception as err:
        # The process's edge: whoever waits for us must hear why there is no daemon.
        body = ErrorBody(code="internal", message=f"stackctld did not start: {err!r}")
        status = StackctlError.exit_code
    try:
        os.write(writer, msgspec.json.encode(body))
    except OSError:
        print(msgspec.json.encode(body).decode(), file=sys.stderr)  # noqa: T201 - ready long ago
    return status


def _set_aside(stderr: Path) -> None:
    """Keep what earlier daemons wrote to their terminal, but one file's worth of it alone."""
    try:
        if stderr.stat().st_size > MAX_STDERR_BYTES:
            stderr.replace(stderr.with_name(f"{stderr.name}.1"))
    except FileNotFoundError:
        return


def _await_ready(reader: int) -> int:
    ready, _, _ = select.select([reader], [], [], START_TIMEOUT_S)
    said = os.read(reader, 65536) if ready else b""
    os.close(reader)
    if said == _READY:
        return 0
    log = paths.state_dir() / "stackctld.log"
    if not ready:
        message = f"stackctld was not ready in {START_TIMEOUT_S:g} s, see {log}"
        return _complain(ErrorBody(code="timed_out", message=message, hint=f"tail {log}"))
    if not said:
        message = f"stackctld ended before it was ready, see {log}"
        return _complain(ErrorBody(code="failed", message=message, hint=f"tail {log}"))
    return _complain(msgspec.json.decode(said, type=ErrorBody))


def _complain(error: ErrorBody) -> int:
    print(f"stackctld: {error.message}", file=sys.stderr)  # noqa: T201 - the terminal's answer
    if error.hint:
        print(f"fix: {error.hint}", file=sys.stderr)  # noqa: T201
    return BY_CODE.get(error.code, StackctlError).exit_code


if __name__ == "__main__":
    sys.exit(main())
