from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from stackctl.cli import model_bench
from stackctl.cli.model_bench import Load, measure, quantile, read_callers
from stackctl.cli.output import Output
from stackctl.client.view import View
from stackctl.errors import Failed, Invalid, Overloaded


class Model:
    """Answers one request at a time, in a time that is its own, on two devices in turn."""

    def __init__(self, took_s: float = 0.002, every: int = 0) -> None:
        self.took_s, self.every, self.count = took_s, every, 0
        self.sizes: set[int] = set()
        self.lock = threading.Lock()

    def __call__(self, inputs: Sequence[Mapping[str, Any]]) -> Any:
        with self.lock:
            self.count += 1
            self.sizes.add(len(inputs))
            if self.every and self.count % self.every == 0:
                raise Overloaded("the queue is full")
            _spin(self.took_s)
            device = f"cpu:{self.count % 2}"
        return View(
            {
                "queue_s": 0.25,
                "batch_s": 0.0,
                "compute_s": self.took_s,
                "device": device,
                "execution_provider": "CPUExecutionProvider",
            }
        )


def _spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def test_callers_that_ask_again_at_once_are_counted_by_device() -> None:
    model = Model()

    found = measure(model, [{"text": "a"}], Load(4, 0.3, per_request=3))

    assert model.sizes == {3}
    assert found["requests"] > 10
    assert found["inputs_per_s"] * found["elapsed_s"] == pytest.approx(found["requests"] * 3)
    assert found["queue_s"] == pytest.approx(0.25)
    assert [device["device"] for device in found["devices"]] == ["cpu:0", "cpu:1"]
    # A lock is not fair: one caller may have most turns, but none is done in less.
    assert found["p50_s"] >= model.took_s
    assert found["p50_s"] <= found["p95_s"] <= found["p99_s"]


def test_latency_at_a_rate_counts_from_when_a_request_was_to_begin() -> None:
    slow = Model(took_s=0.02)

    # It does 50 a second and is asked for 200: what waits for its turn is not left out.
    found = measure(slow, [{"text": "a"}], Load(1, 0.4, rate_per_s=200))

    assert found["p99_s"] > 5 * slow.took_s


def test_a_rate_below_what_a_model_does_is_kept() -> None:
    found = measure(Model(took_s=0.001), [{"text": "a"}], Load(2, 0.4, rate_per_s=50))

    # Above it by one at most; how far below is the machine's.
    assert 0 < found["requests"] <= 21


def test_what_a_full_queue_refuses_is_counted_apart() -> None:
    # Also while it settles, whatever the machine does in that time.
    found = measure(Model(every=4), [{"text": "a"}], Load(2, 0.4))

    assert found["refused"] > 0
    assert found["requests"] > 0


def test_any_other_error_ends_it() -> None:
    def run(inputs: Sequence[Mapping[str, Any]]) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise Failed("the device is gone")
        return Model()(inputs)

    with pytest.raises(Failed, match="gone"):
        measure(run, [{"text": "a"}], Load(3, 5))


def test_a_quantile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(1, 101)]

    assert [quantile(values, share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert quantile([7.0], 0.99) == 7.0
    assert quantile([], 0.5) is None


def test_the_tables_fit_a_narrow_terminal() -> None:
    found = measure(Model(), [{"text": "a"}], Load(2, 0.1))

    shown = list(model_bench.lines(Output(width=60), [found]))

    assert max(map(len, shown)) <= 60
    assert shown[0].split()[:3] == ["CALLERS", "INPUTS/S", "P50"]
    assert sum("cpu:" in line for line in shown) == 2


@pytest.mark.parametrize("text", ["", "0", "a", "1,", "257", "1,2,3,4,5,6,7,8,9"])
def test_callers_are_a_short_list_of_numbers(text: str) -> None:
    assert read_callers("1, 16") == [1, 16]
    with pytest.raises(Invalid, match="up to 8 numbers"):
        read_callers(text)


def test_a_model_is_asked_with_what_it_reads() -> None:
    assert model_bench.choose_inputs([], task="embedding", model="m")[0] == {
        "text": model_bench.TEXTS[0]
    }
    assert "data" in model_bench.choose_inputs([], task="file-type", model="m")[0]
    assert model_bench.choose_inputs(["b"], task="rerank", model="m") == [{"text": "b"}]
    with pytest.raises(Invalid, match="reads a sound"):
        model_bench.choose_inputs([], task="transcription", model="m")
