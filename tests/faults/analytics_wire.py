"""Events that no producer should send, over the real socket: refused by name, nothing half stored.

Each bad event is sent between good ones of the same batch: none of them may be stored.
"""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from faults.evidence import events_of
from faults.findings import Findings
from harness import Stack, UnixConnection

NAME = "fault.event"
FUTURE_US = 4_000_000_000_000_000
YEAR = "/v1/analytics/summary?window_s=31536000"
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no id": ({"id": ""}, "id"),
    "an id of 300 characters": ({"id": "x" * 300}, "id"),
    "an id that is a number": ({"id": 7}, "id"),
    "no name": ({"name": ""}, "name"),
    "an unknown kind": ({"kind": "miracle"}, "kind"),
    "an unknown field": ({"colour": "red"}, "colour"),
    "an unknown outcome": ({"outcome": "maybe"}, "outcome"),
    "a negative time": ({"time_us": -1}, "time_us"),
    "a time behind all times": ({"time_us": 2**53 + 1}, "time_us"),
    "a time that is text": ({"time_us": "now"}, "time_us"),
    "a time with a fraction": ({"time_us": 1.5}, "time_us"),
    "no time": ({"time_us": None}, "time_us"),
    "a negative duration": ({"duration_s": -0.1}, "duration_s"),
    "a duration of 1e300": ({"duration_s": 1e300}, "duration_s"),
    "negative items": ({"items": -1}, "items"),
    "items above 2**53": ({"items": 2**60}, "items"),
    "a user above 64 bits": ({"uid": 2**63}, "uid"),
    "attributes that are a list": ({"attributes": [1]}, "attributes"),
    "attributes above 8 KiB": ({"attributes": {"k": "v" * 9000}}, "attributes"),
    "a model of 2,000 characters": ({"model": "m" * 2000}, "model"),
}
"""Field of an event that makes it bad, and what the refusal must name."""
RAW: dict[str, Callable[[bytes], bytes]] = {
    "bytes that are no UTF-8": lambda body: body.replace(b"@", b"\xff\xfe"),
    "half of a surrogate pair": lambda body: body.replace(b"@", b"\\ud800"),
    "a text that does not end": lambda body: body[: len(body) // 2],
    "NaN": lambda body: body.replace(b'"items": 1', b'"duration_s": NaN'),
    "infinity": lambda body: body.replace(b'"items": 1', b'"duration_s": 1e999'),
    "two bodies": lambda body: body + body,
    "nothing": lambda body: b"",
    "brackets 100,000 deep": lambda body: body.replace(
        b'"items": 1', b'"attributes": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    ),
    "a null": lambda body: b"null",
}
"""What is done to the bytes of a good batch."""


def send_bad_events(findings: Findings, say: Callable[[str], None]) -> None:
    """Send them to a real daemon, then good ones of every age, some more than once."""
    with Stack(model=False) as stack:
        wire = _Wire(stack)
        for what, (fields, named) in BAD.items():
            body = [wire.good(), wire.good() | fields, wire.good()]
            wire.refuse(what, json.dumps({"events": body}).encode(), named)
        for what, change in RAW.items():
            wire.refuse(what, change(wire.body(1)))
        wire.refuse("no events", b'{"events": []}', "0 events")
        wire.refuse("10,001 events", wire.body(10_001), "10001")
        wire.refuse("8 MiB and a byte", b" " * (8 << 20) + b"{", "above", status=413)
        wire.leave_half_way()
        findings.tell("bad batches", wire.sent)
        findings.expect("  not refused as they must be", "; ".join(wire.wrong) or 0, 0)
        findings.expect("  events of theirs stored", _counted(stack.ok("GET", YEAR)), 0)
        say("bad events sent")
        good = _send_good(stack, wire)
        summary = stack.ok("GET", YEAR)
        health = {area["name"]: area["state"] for area in stack.ok("GET", "/v1/status")["areas"]}
        stack.stop()
        stored = events_of(stack.home)
    findings.tell("good events, late, future and repeated", len(good))
    findings.expect("  of these not stored exactly once", _not_once(stored, good), 0)
    findings.expect("  stored besides", stored.total() - len(good), 0)
    findings.expect("  in the window of a year", _counted(summary), len(good) - 1)
    findings.expect("health", health["analytics"], "ready")


class _Wire:
    """Sends bytes and remembers what was not refused as it must be."""

    def __init__(self, stack: Stack):
        self.sent = 0
        self.wrong: list[str] = []
        self._stack = stack
        self._next = 0

    def good(self, **fields: Any) -> dict[str, Any]:
        """Make a good event."""
        self._next += 1
        return {
            "id": f"wire-{self._next}",
            "kind": "user",
            "name": NAME,
            "time_us": time.time_ns() // 1000,
            "model": "@",
            "items": 1,
        } | fields

    def body(self, count: int) -> bytes:
        """Make a batch."""
        return json.dumps({"events": [self.good() for _ in range(count)]}).encode()

    def refuse(self, what: str, body: bytes, named: str = "", *, status: int = 400) -> None:
        """Send what must be refused with a status, and a message that names the reason."""
        self.sent += 1
        connection = UnixConnection(self._stack.socket_path, 20)
        try:
            connection.request(
                "POST", "/v1/events", body, headers={"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as err:
            self.wrong.append(f"{what}: no answer ({err!r})")
            return
        finally:
            connection.close()
        error = json.loads(raw).get("error", {})
        clear = error.get("message") and error.get("code") and error.get("request_id")
        if answer.status != status or not clear or named not in error["message"]:
            self.wrong.append(f"{what}: {answer.status} {raw[:200]!r}")

    def leave_half_way(self) -> None:
        """Leave in the middle of a body."""
        self.sent += 1
        connection = UnixConnection(self._stack.socket_path, 20)
        body = self.body(100)
        connection.connect()
        head = f"POST /v1/events HTTP/1.1\r\nHost: stackctl\r\nContent-Length: {len(body)}\r\n"
        connection.sock.sendall(
            head.encode() + b"Content-Type: application/json\r\n\r\n" + body[: len(body) // 2]
        )
        connection.close()


def _send_good(stack: Stack, wire: _Wire) -> set[str]:
    """Send events of every age; one batch twice in itself, again, and from four at once."""
    day_us = 86_400_000_000
    batch = [wire.good(time_us=time.time_ns() // 1000 - n * day_us) for n in range(80)]
    batch.append(wire.good(time_us=FUTURE_US))
    stack.ok("POST", "/v1/events", {"events": batch + batch})
    stack.ok("POST", "/v1/events", {"events": batch})
    stack.ok("GET", YEAR)  # which loads: the next ones are found in the store
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: stack.ok("POST", "/v1/events", {"events": batch}), range(4)))
    stack.kill9()
    stack.start()
    stack.ok("POST", "/v1/events", {"events": batch})
    return {event["id"] for event in batch}


def _counted(summary: dict[str, Any]) -> int:
    return sum(row["count"] for row in summary["rows"] if row["name"] == NAME)


def _not_once(stored: Counter[str], good: set[str]) -> int:
    return sum(1 for key in good if stored[key] != 1)
