"""The faults of an inference run, each with how it is seen to be over."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from faults.inference_load import BUSY, Load, Outcome
from faults.inference_models import LINEAR, MINILM, STATIC, STATIC_VICTIM, VICTIMS, Question
from faults.memory_group import MemoryGroup
from harness import Stack, UnixConnection, kill_quietly

T = TypeVar("T")
PATIENCE_S = 40.0
"""In which a fault must be over."""
FILE_CODES = frozenset({"model_corrupt", "not_found", "failed", *BUSY})
_GROUP_BYTES = 128 << 20
_BALLOON_MB = 320


class NotOver(Exception):
    """A fault did not end; its message says what was waited for."""


class Faults:
    """Injects faults into a stack under load."""

    def __init__(self, stack: Stack, load: Load, lost: list[Path], rng: random.Random) -> None:
        self._stack, self._load, self._rng = stack, load, rng
        self._lost = lost
        """A file each: while it exists the device is lost; see `lost_device`."""
        self._pause = threading.Event()
        self.devices: dict[str, Callable[[], None]] = {
            "worker killed": self.kill,
            "worker wedged": self.wedge,
            "worker out of memory, killed": self.starve,
            "worker out of memory, refused": self.refuse_memory,
            "device lost and back": self.lose_one,
            "all devices lost and back": self.lose_all,
            "queue full": self.overload,
        }
        """Those that stop or take a worker or a device: one at a time."""
        self.requests: dict[str, Callable[[], None]] = {
            "model file truncated": lambda: self.damage("truncate"),
            "model file corrupted": lambda: self.damage("corrupt"),
            "model file removed": lambda: self.damage("remove"),
            "model file cut under a worker": self.cut_mapped,
            "graph with an unknown operator": self.unknown_operator,
            "client left": self.leave,
            "deadline passed": self.be_late,
            "bad input": self.ask_badly,
        }
        """Those that take a model or a request: beside the others."""

    # -- devices ----------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL a worker while batches run."""
        kill_quietly(self._rng.choice(self._workers(1)))

    def wedge(self) -> None:
        """SIGSTOP a worker: it holds its requests and never answers; wait for its end."""
        pid = self._rng.choice(self._workers(1))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        self._until(lambda: pid not in self._stack.worker_pids(), "the wedged worker's end")

    def starve(self) -> None:
        """Have the kernel kill for memory in the middle of a batch."""
        pids = self._workers(2)
        group = MemoryGroup.make(_GROUP_BYTES)
        if group is None:
            self.refuse_memory()
            return
        try:
            for pid in pids:
                group.take(pid)
            for size in (1, 2, 4):  # an arena may have what an earlier request took
                self._ask(self._load.models.balloon(_BALLOON_MB * size))
                if set(self._stack.worker_pids()) != set(pids):
                    return
        finally:
            group.close()
        raise NotOver("no death for memory")

    def refuse_memory(self) -> None:
        """Let allocations above a bound fail: the request is refused, the worker lives."""
        limited = []
        for pid in self._workers(2):
            with contextlib.suppress(OSError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
                bound = pages * resource.getpagesize() + _GROUP_BYTES
                resource.prlimit(pid, resource.RLIMIT_AS, (bound, resource.RLIM_INFINITY))
                limited.append(pid)
        # A model that is loaded meanwhile has nowhere to go.
        self._load.no_device(lost=True)
        try:
            self._ask(self._load.models.balloon(_BALLOON_MB), BUSY | {"failed"})
        finally:
            for pid in limited:
                with contextlib.suppress(OSError):
                    free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                    resource.prlimit(pid, resource.RLIMIT_AS, free)
            self._load.no_device(lost=False)

    def lose_one(self) -> None:
        """Lose a device under the running worker, and give it back."""
        self._workers(2)
        number = self._rng.randrange(2)
        mark = self._lost[number]
        mark.touch()
        try:
            self._until(lambda: self._state(number) not in ("ready", "starting"), "the loss")
        finally:
            mark.unlink()
        self._until(lambda: self._state(number) == "ready", f"cpu:{number} back")

    def lose_all(self) -> None:
        """Lose every device; requests are refused, and answered again when one is back."""
        self._workers(2)
        self._load.no_device(lost=True)
        for mark in self._lost:
            mark.touch()
        question = self._load.models.linear(LINEAR, self._rng)
        try:
            self._until(lambda: self._ask(question, BUSY | {"failed"}).code == "failed",
                        "a refusal for want of devices")  # fmt: skip
        finally:
            for mark in self._lost:
                mark.unlink()
            self._load.no_device(lost=False)
        self._until(lambda: self._ask(question, BUSY | {"failed"}).code == "ok", "devices back")

    # -- models and requests ----------------------------------------------------------------

    def damage(self, how: str) -> None:
        """Unload a model, damage its file, ask, mend it, ask again."""
        name = self._rng.choice(VICTIMS)
        question = self._load.models.linear(name, self._rng)
        file = self._load.models.directory / name / "model.onnx"
        whole, stat = file.read_bytes(), file.stat()
        self._stack.request("POST", f"/v1/models/{name}/unload", {}, timeout_s=PATIENCE_S)
        if how == "remove":
            file.unlink()
        else:
            half = whole[: len(whole) // 2]
            file.write_bytes(half if how == "truncate" else half + b"\xff" * (len(whole) // 2))
        self._until(lambda: self._ask(question, FILE_CODES).code in FILE_CODES - BUSY,
                    f"a refusal of {name}")  # fmt: skip
        self._write(file, whole, stat.st_mtime_ns)
        self._until(lambda: self._ask(question, FILE_CODES).code == "ok", f"{name} whole again")

    def cut_mapped(self) -> None:
        """Cut a file that a worker has mapped: touching it ends the process by SIGBUS."""
        models = self._load.models
        question = models.embedding(STATIC_VICTIM, [self._rng.randrange(60) for _ in range(9)])
        self._until(lambda: self._ask(question, FILE_CODES).code == "ok", "the model's load")
        file = models.directory / STATIC_VICTIM / "l2_supercat_256.safetensors"
        whole, stat = file.read_bytes(), file.stat()
        os.truncate(file, len(whole) // 3)
        self._until(lambda: self._ask(question, FILE_CODES).code in FILE_CODES - BUSY,
                    f"a refusal of {STATIC_VICTIM}")  # fmt: skip
        self._write(file, whole, stat.st_mtime_ns)
        self._until(lambda: self._ask(question, FILE_CODES).code == "ok", "the model whole again")

    def unknown_operator(self) -> None:
        """Ask a graph that ONNX Runtime cannot open; the refusal names the operator."""
        outcome = self._ask(self._load.models.unknown(), BUSY | {"failed"})
        if outcome.code == "failed" and "Nonesuch" not in outcome.message:
            self._load.tally.unclear.append(f"unknown operator: {outcome.message}")

    def leave(self) -> None:
        """Send a request and close the connection before its answer."""
        question = self._load.models.timed(0.0)
        connection = UnixConnection(self._stack.socket_path, 5)
        body = json.dumps(question.body).encode()
        connection.request("POST", question.path, body, {"Content-Type": "application/json"})
        self._pause.wait(self._rng.uniform(0, 0.1))  # a random moment, not synchronisation
        connection.close()

    def be_late(self) -> None:
        """Give a request less time than it takes."""
        self._ask(self._load.models.timed(0.02), BUSY | {"timed_out"})

    def overload(self) -> None:
        """Fill the queue while the workers stand still; one and many are refused alike."""
        stopped = self._workers(2)
        models = self._load.models
        threads: list[threading.Thread] = []
        refused: dict[int, Outcome] = {}

        def fill(count: int) -> None:
            which = [i % 60 for i in range(count)]
            outcome = self._ask(models.embedding(STATIC, which))
            if outcome.code == "overloaded":
                refused.setdefault(count, outcome)

        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            for count, most in ((100, 12), (10, 20), (1, 40)):
                for _ in range(most):
                    if count in refused:
                        break
                    thread = threading.Thread(target=fill, args=(count,), daemon=True)
                    thread.start()
                    threads.append(thread)
                    thread.join(0.01)
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        for thread in threads:
            thread.join(PATIENCE_S)
        for count, outcome in refused.items():
            if not outcome.retry_after:
                self._load.tally.unclear.append(f"429 for {count} inputs without Retry-After")
        # Whether a single input met the full queue is chance while others come and go; that one
        # and many are refused alike is held by test_bad_input.

    def ask_badly(self) -> None:
        """Ask for what cannot be answered; the code says whose fault it is."""
        linear, embed = f"/v1/models/{LINEAR}/run", "/v1/embed"
        good = self._load.models.linear(LINEAR, self._rng).body["inputs"][0]["tensors"][0]
        cases: list[tuple[str, dict[str, Any], str]] = [
            (embed, {"texts": []}, "invalid"),
            (embed, {"texts": ["word"] * 10_000}, "invalid"),
            (embed, {"texts": ["word"], "model": "nonesuch"}, "not_found"),
            (embed, {"texts": [7]}, "invalid"),
            (linear, {"inputs": [{"tensors": [good | {"dtype": "<i8"}]}]}, "invalid"),
            (linear, {"inputs": [{"tensors": [good | {"shape": [3, 3]}]}]}, "invalid"),
            (linear, {"inputs": [{"tensors": [good | {"data": "?"}]}]}, "invalid"),
            (linear, {"inputs": [{"text": "a text"}]}, "invalid"),
            (f"/v1/models/{MINILM}/run", {"inputs": [{"data": "AAAA"}]}, "invalid"),
        ]  # fmt: skip
        path, body, code = self._rng.choice(cases)
        question = Question("bad input", path, body, lambda _: "answered", 1)
        self._ask(question, BUSY | {code})

    # -- means ------------------------------------------------------------------------------

    def _ask(self, question: Question, allowed: frozenset[str] = BUSY) -> Outcome:
        return self._load.ask(question, allowed)

    def _workers(self, count: int) -> list[int]:
        """Wait for so many workers that serve."""

        def serving() -> list[int]:
            found = [d for d in self._items() if d["worker_state"] == "ready"]
            return [d["worker_pid"] for d in found if d["worker_pid"]]

        return self._until(lambda: (pids := serving())[count - 1 :] and pids, f"{count} workers")

    def _items(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._stack.ok("GET", "/v1/devices")["items"]
        return items

    def _state(self, number: int) -> str:
        return str(next(d for d in self._items() if d["id"] == f"cpu:{number}")["worker_state"])

    def _until(self, condition: Callable[[], T], what: str) -> T:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            if time.monotonic() > deadline:
                states = {d["id"]: d["worker_state"] for d in self._items()}
                raise NotOver(f"no {what} in {PATIENCE_S:.0f} s: {states}")
            self._pause.wait(0.05)
        return found

    @staticmethod
    def _write(file: Path, data: bytes, mtime_ns: int) -> None:
        """Put a whole file back in one step."""
        fresh = file.with_name(".mended")
        fresh.write_bytes(data)
        os.utime(fresh, ns=(mtime_ns, mtime_ns))
        fresh.replace(file)
