"""One run of the daemon: lock, socket, start, signals, drain; refuses to know any area."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import msgspec
import uvloop

from stackctl import paths
from stackctl import settings as settings_module
from stackctl.errors import Conflict, StackctlError
from stackctl.settings import Settings
from stackctl_daemon import system_routes, telemetry
from stackctl_daemon.app import App, Target
from stackctl_daemon.http import socket as control_socket
from stackctl_daemon.http import tcp
from stackctl_daemon.http.auth import Access
from stackctl_daemon.http.dispatch import Dispatcher
from stackctl_daemon.http.server import Server
from stackctl_daemon.notify import notify, notify_reloading
from stackctl_daemon.system_routes import SystemService
from stackctl_daemon.tasks import TaskOwner

log = logging.getLogger(__name__)

RESERVED_FILES = 128
"""Descriptors kept for databases, workers and logs when connections are many."""

END_MARGIN_S = 33.0
"""From the end of the drain to the end of the process, whatever hangs: areas have 25 s to close,
and systemd 60 s for all of it with the default drain of 20 s."""

THREADS_END_S = 5.0
"""From the end of the loop to the end of the process."""

FORCED_END_S = 2.0
"""From a second signal to the end, when not even a line can be logged."""


class Daemon:
    """The daemon's life, from the lock to the last flush."""

    def __init__(self, app: App, *, foreground: bool) -> None:
        self.app = app
        self._foreground = foreground
        self._stop = asyncio.Event()
        self._signals = 0
        self._limited_s: float | None = None
        self._tasks = TaskOwner()
        access = Access(app.settings.daemon.operator_group)
        self._dispatcher = Dispatcher(app.registry, app.sink, access)
        self._server = Server(self._dispatcher, _within_file_limit(app.settings))
        self._api: Server | None = None
        system = SystemService(app, stop=self.stop, reload=self.reload)
        app.registry.add(*system_routes.routes(system, app))

    async def run(self, ready: Callable[[], None]) -> int:
        """Serve until a signal or a shutdown request; give the exit status.

        Raises:
            Conflict: another daemon runs.
            Denied: the socket's directory is not safe.
        """
        lock = control_socket.Lock(paths.state_dir() / "stackctld.lock")
        try:
            path = paths.socket_path()
            group = self.app.settings.daemon.operator_group
            # Bound before the areas start: early clients wait in the queue and are not refused.
            listener = control_socket.bind(path, operator_group=group)
            try:
                self._watch_signals()
                await self.app.start()
                self._start_api()
                self._server.start(listener)
                log.info("daemon_ready pid=%d target=%s", os.getpid(), self.app.target)
                notify(f"READY=1\nMAINPID={os.getpid()}")
                ready()
                await self._stop.wait()
            finally:
                limit_s = self._limit_end()
                notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(limit_s * 1e6)}")
                with suppress(FileNotFoundError):
                    path.unlink()
                listener.close()
                await self._end()
        finally:
            lock.release()
        log.info("daemon_ended pid=%d", os.getpid())
        return 0

    def _start_api(self) -> None:
        """Serve the protocols of others on a loopback port, where one is configured.

        Raises:
            BadConfig: the address is not loopback, or the token file holds no token.
            Denied: others may read the token file.
            Failed: the address is taken.
        """
        settings = self.app.settings
        if not settings.api.listen or not self.app.api.routes:
            return
        listener = tcp.listen(tcp.parse_address(settings.api.listen))
        try:
            host, port = listener.getsockname()[:2]
            gate = tcp.TokenGate(tcp.token(paths.api_token()), port)
        except BaseException:
            listener.close()
            raise
        dispatcher = Dispatcher(self.app.api, self.app.sink, gate)
        self._api = Server(dispatcher, self._server.settings)
        self._api.start(listener)
        self.app.api_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.info("api_ready url=%s token=%s", self.app.api_url, paths.api_token())

    def stop(self) -> None:
        """Begin to drain, under a limit that holds even where the loop or a thread hangs."""
        if not self._stop.is_set():
            self._limit_end()
            self._stop.set()

    async def reload(self) -> None:
        """Read the configuration again; on any error the old one stays whole.

        Raises:
            BadConfig: a file or variable is wrong.
            Conflict: a section changed that only a restart can apply.
        """
        new, sources = await asyncio.to_thread(settings_module.load)
        old = self.app.settings
        fixed = [
            name
            for name in Settings.__struct_fields__
            if name != "daemon" and getattr(new, name) != getattr(old, name)
        ]
        if new.daemon.operator_group != old.daemon.operator_group:
            fixed.append("daemon.operator_group")
        if fixed:
            raise Conflict(
                f"a change of {', '.join(fixed)} needs a restart; nothing was changed",
                hint="stackctl down && stackctl up",
            )
        self._configure_log(new)  # first: it alone may refuse
        self.app.settings, self.app.sources = new, sources
        self._server.settings = _within_file_limit(new)
        if self._api is not None:
            self._api.settings = self._server.settings
        log.info("config_reloaded sources=%s", ",".join(sources))

    # -- helpers --------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Requests, then jobs, then areas; each has its share of the drain's time."""
        timeout_s = self.app.settings.daemon.drain_timeout_s
        log.info("daemon_draining timeout_s=%g", timeout_s)
        await self._tasks.close()
        servers = [self._server, *([self._api] if self._api is not None else [])]
        await asyncio.gather(*(server.drain(timeout_s) for server in servers))
        await self.app.close()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # The loop's handler drains; ours, set over its idle one, works while the loop hangs.
            loop.add_signal_handler(number, self._on_first_signal, number)
            signal.signal(number, self._on_end_signal)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)

    def _on_first_signal(self, number: int) -> None:
        if not self._stop.is_set():
            log.info("signal_received signal=%d", number)
            self.stop()

    def _on_end_signal(self, number: int, _frame: FrameType | None) -> None:
        """Run in the main thread, between any two bytecodes: a busy loop cannot put it off."""
        self._signals += 1
        if self._signals > 1:
            # First the limit: the log may hang on whoever no longer reads our terminal.
            faulthandler.dump_traceback_later(FORCED_END_S, exit=True)
            log.warning("second signal=%d: ending at once", number)
            os._exit(1)
        self._limit_end()

    def _limit_end(self) -> float:
        """Let the process end in any case; what is then not yet closed is as after a crash.

        A thread of faulthandler's own writes every stack to stderr and ends us with status 1.
        """
        limit_s = self.app.settings.daemon.drain_timeout_s + END_MARGIN_S
        if self._limited_s is None:
            self._limited_s = limit_s
            faulthandler.dump_traceback_later(limit_s, exit=True)
        return self._limited_s

    def _on_hangup(self) -> None:
        if not self._stop.is_set():
            self._tasks.spawn(self._reload_logged(), name="config reload")

    async def _reload_logged(self) -> None:
        notify_reloading()
        try:
            await self.reload()
        except StackctlError as err:
            log.error("config_not_reloaded error=%s", err.message)
        finally:
            notify("READY=1")

    def _configure_log(self, settings: Settings) -> None:
        file = paths.state_dir() / "stackctld.log"
        telemetry.configure(settings.daemon, file, foreground=self._foreground)


def _within_file_limit(settings: Settings) -> settings_module.DaemonSettings:
    """Raise the soft limit of files, and cap the connections by what it then allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    listeners = 2 if settings.api.listen else 1
    wanted = settings.daemon.max_connections * listeners + RESERVED_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = max(1, (soft - RESERVED_FILES) // listeners)
    if settings.daemon.max_connections <= most:
        return settings.daemon
    return msgspec.structs.replace(settings.daemon, max_connections=most)


def run(target: Target, *, foreground: bool, ready: Callable[[], None]) -> int:
    """Load the configuration, build the target and serve until the end.

    Raises:
        StackctlError: the daemon cannot start.
    """
    settings, sources = settings_module.load()
    state = paths.state_dir()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    telemetry.configure(settings.daemon, state / "stackctld.log", foreground=foreground)

    async def serve() -> int:
        daemon = Daemon(App(settings, sources, target), foreground=foreground)
        return await daemon.run(ready)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve())
    finally:
        # Threads that hang keep the interpreter from ending: the limit stays, but shorter.
        faulthandler.dump_traceback_later(THREADS_END_S, exit=True)
