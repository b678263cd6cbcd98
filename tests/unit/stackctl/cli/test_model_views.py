"""What a narrow terminal still shows of models on devices."""

from __future__ import annotations

import msgspec
import pytest

from stackctl.cli.model_views import RUNNING, placement_lines
from stackctl.cli.output import Output
from stackctl.client.view import decode
from stackctl.contracts.inference import DeviceVerdict, Placement, RunningModel


def shown(value: object) -> object:
    """As the client hands it on."""
    return decode(msgspec.json.encode(value))


def held(**more: object) -> object:
    plain = RunningModel(
        model="all-minilm-l6-v2",
        version="0123456789abcdef",
        device="cpu:0",
        state="idle",
        memory_bytes=95_000_000,
        load_s=0.31,
        used_at="2026-03-01T10:00:00.000Z",
        expires_at="2026-03-01T10:05:00.000Z",
        batch_budget=512,
    )
    return shown(msgspec.structs.replace(plain, **more))


def placed(reason: str, **more: object) -> Placement:
    verdict = DeviceVerdict(
        device="cpu:0",
        decision="holds",
        reason=reason,
        needed_bytes=95_000_000,
        free_bytes=4_000_000_000,
        reclaimable_bytes=0,
        queued=0,
        rate_per_s=500.0,
    )
    whole = Placement(
        model="m", needed_bytes=95_000_000, basis="measured", devices=[verdict, verdict]
    )
    found: Placement = shown(msgspec.structs.replace(whole, **more))  # type: ignore[assignment]  # a view of it
    return found


@pytest.mark.parametrize("width", [60, 80])
def test_ps_keeps_state_memory_and_a_target_on_a_narrow_terminal(width: int) -> None:
    target = held(latency_target_ms=100.0, latency_p95_ms=87.3, max_queued=64, timeout_s=5.0)

    head, row = Output("text", width=width).table([target], RUNNING)

    assert max(len(head), len(row)) <= width
    assert head.split()[:5] == ["MODEL", "DEVICE", "STATE", "MEMORY", "P95"]
    assert row.startswith("all-minilm-l6-v2  cpu:0   idle   90.6 MiB  87 of 100 ms")


def test_ps_gives_the_room_of_a_column_that_says_nothing_to_one_that_does() -> None:
    head, row = Output("text", width=80).table([held()], RUNNING)

    assert "P95" not in head
    assert "TIMEOUT" not in head
    assert head.split()[4:7] == ["IN", "USE", "EXPIRES"]
    assert "2026-03-01" in row


def test_ps_shows_the_limits_where_they_have_room() -> None:
    bound = held(max_queued=64, timeout_s=5.0)

    head, row = Output("text", width=110).table([bound], RUNNING)
    plain = dict(zip((c.head for c in RUNNING), (c.plain(bound) for c in RUNNING), strict=True))

    assert row[head.index("MOST QUEUED") :].split()[0] == "64"
    assert row[head.index("TIMEOUT") :].split()[:2] == ["5", "s"]
    assert (plain["MOST QUEUED"], plain["TIMEOUT"]) == ("64", "5.0")


@pytest.mark.parametrize("width", [60, 80])
def test_why_says_its_reasons_in_full_on_a_narrow_terminal(width: int) -> None:
    reason = "loaded, took 95 MB, 2 replicas, target 100 ms: p95 87 ms with batches of 512"

    lines = list(placement_lines(Output("text", width=width), placed(reason)))

    assert max(map(len, lines)) <= width
    told = " ".join(" ".join(lines).split())
    assert told.count("p95 87 ms with batches of 512") == 2
    assert "cpu:0 holds" in told


def test_why_has_a_reason_in_its_row_where_there_is_room() -> None:
    lines = list(placement_lines(Output("text", width=120), placed("loaded, took 95 MB")))

    assert "REASON" in lines[-3]
    assert lines[-1].endswith("loaded, took 95 MB")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({}, "limits: none of its own"),
        ({"max_queued": 64}, "limits: 64 inputs may wait"),
        ({"timeout_s": 5.0}, "limits: a request that says nothing waits 5 s"),
        (
            {"max_queued": 1, "timeout_s": 0.5},
            "limits: 1 input may wait, a request that says nothing waits 500 ms",
        ),
    ],
)
def test_why_says_the_models_limits(limits: dict[str, object], said: str) -> None:
    assert said in list(placement_lines(Output("text"), placed("loaded", **limits)))
