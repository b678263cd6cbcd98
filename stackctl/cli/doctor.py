"""Looks for problems of this installation; every finding carries the command that mends it.

Each check reads only what it needs and never starts the daemon. Checks of Python packages read
metadata alone: importing onnxruntime to see whether it works would cost a second.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stackctl import __version__, paths
from stackctl.cli.doctor_gpu import gpu_problems
from stackctl.cli.output import Output
from stackctl.cli.text import clean, size
from stackctl.client import Client
from stackctl.client.launcher import check_length
from stackctl.errors import BadConfig, NotFound, StackctlError, Unreachable

LEAST_FREE_BYTES = 1 << 30
REPAIRABLE = ("jobs", "analytics", "search")
"""In the order of repair: search needs jobs to index again."""

Finding = dict[str, str]
"""``check``, ``message``, ``fix``."""


def examine(client: Client) -> dict[str, Any]:
    """Run every check and give ``{"ok", "checks", "findings"}``."""
    findings: list[Finding] = []
    names = []
    for name, check in CHECKS.items():
        found = [{"check": name, "message": m, "fix": fix} for m, fix in check(client)]
        names.append({"check": name, "ok": not found})
        findings += found
    return {"ok": not findings, "checks": names, "findings": findings}


def repair(client: Client) -> list[dict[str, Any]]:
    """Let the daemon repair its degraded areas, and say what it did."""
    degraded = {a.name for a in client.system.status().areas if a.state == "degraded"}
    return [_repair(client, area) for area in REPAIRABLE if area in degraded]


def _repair(client: Client, area: str) -> dict[str, Any]:
    try:
        actions = client.system.repair(area).actions
    except Unreachable:
        raise
    except StackctlError as err:
        # The other areas must not wait for this one; the checks after it still find it.
        actions = [f"failed: {err.message}"]
    return {"area": area, "actions": actions}


def lines(output: Output, report: dict[str, Any]) -> Iterator[str]:
    """Word a report: a line a check, its findings below."""
    for reply in report["repaired"]:
        for action in reply["actions"]:
            yield f"repaired {reply['area']}: {clean(action)}"
    for check in report["checks"]:
        mark = output.style("ok", "green") if check["ok"] else output.style("problem", "red")
        yield f"{check['check']:<14} {mark}"
        for finding in report["findings"]:
            if finding["check"] == check["check"]:
                yield f"  {clean(finding['message'])}"
                yield f"  fix: {finding['fix']}"
    count = len(report["findings"])
    yield "no problems found" if not count else f"{count} problem{'s' if count > 1 else ''} found"


Problems = Iterator[tuple[str, str]]
"""Message and fix of each."""


def _python(_: Client) -> Problems:
    found = sys.version_info[:3]  # a slice: checkers know the minimum and call the rest dead
    if found < (3, 11):
        shown = ".".join(str(part) for part in found)
        yield f"Python {shown} is older than 3.11", "python3.11 -m venv ~/.stackctl"


def _packages(_: Client) -> Problems:
    # Deferred: 40 ms that only this command needs.
    import csv
    from importlib.metadata import PackageNotFoundError, distribution

    present = {}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            present[name] = distribution(name)
        except PackageNotFoundError:
            continue
    reinstall = f"{sys.executable} -m pip install --force-reinstall --no-deps onnxruntime-gpu"
    if len(present) == 2:
        yield (
            "onnxruntime and onnxruntime-gpu are both installed: one overwrites the other's files",
            f"{sys.executable} -m pip uninstall -y onnxruntime && {reinstall}",
        )
    if not present:
        yield "onnxruntime is not installed", reinstall
    for name, found in present.items():
        # Not `found.files`: since Python 3.12 that leaves out what is missing.
        rows = csv.reader((found.read_text("RECORD") or "").splitlines())
        sizes = {row[0]: row[2] for row in rows if row}
        places = {file: Path(str(found.locate_file(file))) for file in sizes}
        missing = [file for file, place in places.items() if not place.exists()]
        # Another package's files in their place: pip sees nothing wrong with that.
        changed = [
            file for file, place in places.items()
            if sizes[file] and place.suffix == ".so" and place.exists()
            and place.stat().st_size != int(sizes[file])
        ]  # fmt: skip
        if missing:
            yield f"{len(missing)} files of {name} are missing, such as {missing[0]}", reinstall
        if changed:
            yield f"{len(changed)} files of {name} are another's, such as {changed[0]}", reinstall


def _installer(_: Client) -> Problems:
    from importlib.util import find_spec

    # As the daemon looks: our own pip, then uv or another pip on the path or beside Python.
    folders = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    programs = (shutil.which(name, path=folders) for name in ("uv", "pip", "pip3"))
    if find_spec("pip") is None and not any(programs):
        yield (
            "neither pip nor uv is there, and models from the package index need one",
            f"{sys.executable} -m ensurepip",
        )


def _configuration(_: Client) -> Problems:
    from stackctl.cli.configuration import read

    try:
        read()
    except BadConfig as err:
        yield err.message, err.hint or "stackctl config check"


def _directories(_: Client) -> Problems:
    kinds = (paths.config_dir, paths.data_dir, paths.state_dir, paths.cache_dir)
    for held in dict.fromkeys(_nearest(kind()) for kind in kinds):
        if not os.access(held, os.W_OK | os.X_OK):
            yield f"{held} may not be written by this user", f"ls -ld {held}"
    runtime = paths.runtime_dir()
    if runtime.is_dir():
        found = runtime.stat()
        if found.st_uid != os.getuid():
            yield f"{runtime} belongs to user {found.st_uid}", f"ls -ld {runtime}"
            return
        grouped = _is_shared_with_a_group()
        allowed = 0o710 if grouped else 0o700
        if stat.S_IMODE(found.st_mode) & ~allowed & 0o077:
            who = "more than the operator group" if grouped else "other users"
            yield f"{runtime} is open to {who}", f"chmod {allowed:o} {runtime}"


def _is_shared_with_a_group() -> bool:
    from stackctl.cli.configuration import read

    try:
        return bool(read()["values"]["daemon"]["operator_group"])
    except BadConfig:
        return False  # `configuration` has said it


def _disk(_: Client) -> Problems:
    seen = set()
    for directory in (paths.data_dir(), paths.state_dir(), paths.cache_dir()):
        held = _nearest(directory)
        free = shutil.disk_usage(held).free
        device = held.stat().st_dev
        if free < LEAST_FREE_BYTES and device not in seen:
            yield f"only {size(free)} free where {directory} lies", f"df -h {held}"
        seen.add(device)


def _socket(client: Client) -> Problems:
    path = client.transport.socket_path
    if not os.path.lexists(path):
        try:
            check_length(path)
        except BadConfig as err:
            yield err.message, err.hint
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        yield f"{path} is no socket", f"rm {path}"
        return
    try:
        client.system.version()
    except Unreachable as err:
        # `up` replaces a stale socket under its lock; removing it by hand could race a start.
        yield f"stale socket: {err.message}", "stackctl up"
    except StackctlError as err:
        yield err.message, err.hint or "stackctl down"


def _daemon(client: Client) -> Problems:
    try:
        status = client.system.status()
    except StackctlError:
        return  # not running is no problem, and `socket` has said the rest
    if status.daemon.version != __version__:
        yield (
            f"the daemon runs stackctl {status.daemon.version}, this is {__version__}",
            "stackctl down && stackctl up",
        )
    for area in status.areas:
        if area.state == "degraded":
            fix = "stackctl doctor --repair" if area.name in REPAIRABLE else "stackctl logs"
            yield f"{area.name} is degraded: {area.reason}", area.hint or fix


def _models(client: Client) -> Problems:
    try:
        present = [m for m in client.models.list().items if m.state != "absent"]
        for model in present:
            found = client.models.verify(model.name)
            if not found.ok:
                why = "; ".join(found.problems) or "its bytes are not the catalogue's"
                # An older daemon tells no problem.
                verb = "remove" if getattr(model, "problem", "") else "pull"
                yield f"model {model.name}: {why}", f"stackctl models {verb} {model.name}"
    except (Unreachable, NotFound):
        return  # NotFound: its target has no models
    except StackctlError as err:
        yield f"models cannot be checked: {err.message}", err.hint or "stackctl logs"


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(p for p in (path, *path.parents) if os.path.exists(p))  # noqa: PTH110 - never raises


CHECKS: dict[str, Callable[[Client], Problems]] = {
    "python": _python,
    "packages": _packages,
    "installer": _installer,
    "configuration": _configuration,
    "directories": _directories,
    "disk": _disk,
    "socket": _socket,
    "daemon": _daemon,
    "gpus": gpu_problems,
    "models": _models,
}
