"""Clients that ask without pause and judge every answer by its content."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from faults.inference_models import Models, Question
from harness import Stack, UnixConnection

LIMIT_S = 60.0
"""A request without an answer in this time is hung."""
BUSY = frozenset({"overloaded", "worker_crashed"})
"""What a sound request to a sound model may be refused with under faults."""


@dataclass(slots=True)
class Tally:
    """What became of the requests; every one of them is in exactly one of the counts."""

    asked: int = 0
    answered: int = 0
    inputs: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    """Refused with a code that does not fit what was done."""
    slowest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer."""

    code: str
    """``ok``, the error's code, or ``lost``, ``hung``, ``wrong``."""
    message: str = ""
    retry_after: str = ""


class Load:
    """Asks, judges and counts."""

    def __init__(self, stack: Stack, models: Models) -> None:
        self.tally = Tally()
        self.models = models
        self._stack = stack
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._excused_from = 0.0
        self._excused_to = 0.0

    def start(self, clients: int, *, seed: int) -> None:
        """Begin to ask."""
        for number in range(clients):
            rng = random.Random(f"{seed}-{number}")
            thread = threading.Thread(target=self._run, args=(rng,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Let every client have its last answer."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(LIMIT_S * 2)

    def no_device(self, *, lost: bool) -> None:
        """Say that every device is lost, or is back: a refusal in between is as it should be."""
        with self._lock:
            if lost:
                self._excused_from, self._excused_to = time.monotonic(), float("inf")
            else:
                self._excused_to = time.monotonic()

    def ask(self, question: Question, allowed: frozenset[str] = BUSY) -> Outcome:
        """Ask, judge, count; ``allowed``: codes of errors that are clear answers to this."""
        began = time.monotonic()
        outcome = self._ask(question)
        took = time.monotonic() - began
        what = f"{question.model} x{question.count}: {outcome.code} {outcome.message}"[:300]
        with self._lock:
            tally = self.tally
            tally.asked += 1
            tally.slowest_s = max(tally.slowest_s, took)
            if outcome.code == "ok":
                tally.answered += 1
                tally.inputs += question.count
            elif outcome.code in ("wrong", "lost", "hung"):
                {"wrong": tally.wrong, "lost": tally.lost, "hung": tally.hung}[
                    outcome.code
                ].append(what)
            else:
                tally.refused[outcome.code] += 1
                excused = began <= self._excused_to and began + took >= self._excused_from
                if outcome.code not in allowed and not (excused and outcome.code == "failed"):
                    tally.unclear.append(what)
            if took > LIMIT_S and outcome.code != "hung":
                tally.hung.append(f"{what} after {took:.0f} s")
        return outcome

    def _ask(self, question: Question) -> Outcome:
        connection = UnixConnection(self._stack.socket_path, LIMIT_S)
        try:
            body = json.dumps(question.body).encode()
            connection.request("POST", question.path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            parsed: Any = json.loads(reply.read())
        except TimeoutError:
            return Outcome("hung")
        except (OSError, http.client.HTTPException, ValueError) as err:
            return Outcome("lost", repr(err))
        finally:
            connection.close()
        if reply.status != 200:
            error = parsed.get("error", {})
            retry = reply.headers.get("Retry-After", "")
            if not error.get("code") or not error.get("message"):
                return Outcome("wrong", f"status {reply.status} without a code: {parsed}")
            return Outcome(error["code"], error["message"], retry)
        try:
            problem = question.check(parsed)
        except (KeyError, IndexError, TypeError, ValueError) as err:
            problem = repr(err)
        return Outcome("wrong", problem) if problem else Outcome("ok")

    def _run(self, rng: random.Random) -> None:
        while not self._stopping.is_set():
            outcome = self.ask(self.models.some(rng))
            if outcome.retry_after:
                # As a client should, though not for longer than the run wants load.
                self._stopping.wait(min(float(outcome.retry_after), 0.5))
