from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_server import ControlServer, error

import stackctl
from stackctl.client.events import EventRecorder
from stackctl.client.transport import Transport
from stackctl.errors import Invalid, Overloaded

ROUTE = ("POST", "/v1/events")


def _accept(body: Any) -> Any:
    return {"accepted": len(body["events"])}


@pytest.fixture
def server(own_home: Path) -> Iterator[ControlServer]:
    with ControlServer(own_home / "run" / "stackctld.sock") as running:
        running.routes[ROUTE] = _accept
        yield running


@pytest.fixture
def recorder(own_home: Path) -> Iterator[EventRecorder]:
    made = EventRecorder(Transport(own_home / "run" / "stackctld.sock"), interval_s=0.01)
    yield made
    made.close(0)


def _stored(server: ControlServer) -> list[dict[str, Any]]:
    return [event for _, _, body in server.seen for event in body["events"]]


def test_events_arrive_once_in_order_and_in_batches(
    server: ControlServer, recorder: EventRecorder
) -> None:
    for number in range(1200):
        assert recorder.record("click", attributes={"n": number}, duration_s=0.5)

    assert recorder.flush()
    events = _stored(server)
    assert [event["attributes"]["n"] for event in events] == list(range(1200))
    assert len({event["id"] for event in events}) == 1200
    assert max(len(body["events"]) for _, _, body in server.seen) <= 500
    assert {event["kind"] for event in events} == {"user"}
    assert (recorder.sent, recorder.dropped, recorder.queued) == (1200, 0, 0)


def test_a_full_queue_drops_and_counts_without_a_daemon(recorder: EventRecorder) -> None:
    small = EventRecorder(Transport(Path("/nowhere/s.sock")), max_queued=3)

    taken = [small.record("a") for _ in range(5)]
    ended = small.flush(0.05)
    small.close(0.2)

    assert taken == [True, True, True, False, False]
    assert not ended
    assert (small.sent, small.dropped, small.queued) == (0, 5, 0)


def test_events_wait_for_a_daemon_that_starts_later(own_home: Path) -> None:
    recorder = EventRecorder(Transport(own_home / "run" / "stackctld.sock"), interval_s=0.001)
    assert recorder.record("early")
    assert not recorder.flush(0.3)

    with ControlServer(own_home / "run" / "stackctld.sock") as server:
        server.routes[ROUTE] = _accept
        assert recorder.flush(10)
        recorder.close()

    assert [event["name"] for event in _stored(server)] == ["early"]
    assert (recorder.sent, recorder.dropped) == (1, 0)


def test_an_answer_that_is_lost_is_sent_again_with_the_same_ids(
    server: ControlServer, recorder: EventRecorder
) -> None:
    answers = iter([(503, error("unreachable", "the daemon ends", "")), None])

    def first_fails(body: Any) -> Any:
        return next(answers, None) or _accept(body)

    server.routes[ROUTE] = first_fails
    recorder.record("again")

    assert recorder.flush()
    first, second = _stored(server)
    assert first == second
    assert recorder.sent == 1


def test_one_event_that_the_daemon_refuses_does_not_take_others_along(
    server: ControlServer, recorder: EventRecorder
) -> None:
    def picky(body: Any) -> Any:
        bad = any(event["name"] == "bad" for event in body["events"])
        return (400, error("invalid", "a bad one", "")) if bad else _accept(body)

    server.routes[ROUTE] = picky
    for number in range(40):
        recorder.record("bad" if number == 17 else "good")

    assert recorder.flush()
    assert (recorder.sent, recorder.dropped) == (39, 1)
    assert isinstance(recorder.last_error, Invalid)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("", {}),
        ("x" * 257, {}),
        ("a", {"outcome": "maybe"}),
        ("a", {"attributes": {"x": object()}}),
        ("a", {"attributes": {"x": float("nan")}}),
        ("a", {"attributes": {"x": "y" * 9000}}),
        ("a", {"attributes": {"x": "\ud800"}}),
        ("a", {"attributes": 5}),
        ("a", {"time_us": -1}),
        ("a", {"time_us": "now"}),
        ("a", {"tokens": "many"}),
        ("a", {"colour": "red"}),
        (7, {}),
    ],
)
def test_a_wrong_event_is_counted_and_raised_only_where_asked(
    name: Any, fields: dict[str, Any]
) -> None:
    lenient, strict = EventRecorder(), EventRecorder(strict=True)

    assert lenient.record(name, **fields) is False
    assert lenient.dropped == 1
    assert isinstance(lenient.last_error, Invalid)
    with pytest.raises(Invalid):
        strict.record(name, **fields)
    assert strict.dropped == 1


def test_a_strict_recorder_says_that_its_queue_is_full() -> None:
    strict = EventRecorder(Transport(Path("/nowhere/s.sock")), max_queued=1, strict=True)
    strict.record("a")

    with pytest.raises(Overloaded, match="1 events wait"):
        strict.record("b")
    strict.close(0)
    with pytest.raises(Overloaded, match="closed"):
        strict.record("c")


def test_what_is_changed_afterwards_is_not_what_is_sent(
    server: ControlServer, recorder: EventRecorder
) -> None:
    attributes = {"list": [1]}
    recorder.record("a", attributes=attributes)
    attributes["list"].append(2)

    assert recorder.flush()
    assert _stored(server)[0]["attributes"] == {"list": [1]}


def test_a_block_is_timed_and_its_error_passes(
    server: ControlServer, recorder: EventRecorder
) -> None:
    with recorder.timed("work", model="m") as attributes:
        attributes["rows"] = 3
    with pytest.raises(KeyError), recorder.timed("work"):
        raise KeyError("x")

    assert recorder.flush()
    good, bad = _stored(server)
    assert (good["attributes"], good["outcome"], good["model"]) == ({"rows": 3}, "ok", "m")
    assert (bad["outcome"], bad["error_code"]) == ("error", "KeyError")
    assert 0 < good["duration_s"] < 5


def test_many_threads_lose_nothing(server: ControlServer, recorder: EventRecorder) -> None:
    def work() -> None:
        for _ in range(500):
            recorder.record("t")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert recorder.flush(20)
    assert len({event["id"] for event in _stored(server)}) == 4000


def _run(program: str, home: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"STACKCTL_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", program],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_a_program_that_ends_sends_what_it_recorded(server: ControlServer, own_home: Path) -> None:
    _run("import stackctl\nfor n in range(700): stackctl.record_event('bye')", own_home)

    assert len(_stored(server)) == 700


def test_a_child_of_fork_sends_its_own_events_alone(server: ControlServer, own_home: Path) -> None:
    program = """
import os
from stackctl import flush_events, record_event
record_event("parent")
child = os.fork()
if child == 0:
    record_event("child")
    ok = flush_events()
    os._exit(0 if ok else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    _run(program, own_home)

    assert sorted(event["name"] for event in _stored(server)) == ["child", "parent"]


def test_without_a_daemon_a_program_ends_soon_and_says_what_was_lost(own_home: Path) -> None:
    done = _run("import stackctl\nprint(stackctl.record_event('x'))", own_home)

    assert done.stdout == "True\n"
    assert "events_lost count=1" in done.stderr


def test_the_package_imports_no_client_until_it_is_asked() -> None:
    program = "import stackctl, sys; print('stackctl.client' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"
    assert callable(stackctl.record_event)
    with pytest.raises(AttributeError):
        _ = stackctl.nothing
