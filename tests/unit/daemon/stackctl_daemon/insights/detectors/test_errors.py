"""Error bursts and crash loops."""

from __future__ import annotations

from steady_panel import SteadyPanel

from stackctl_daemon.insights.detectors.errors import detect_burst, detect_crash_loop


def test_no_errors_are_no_burst() -> None:
    assert detect_burst(SteadyPanel().panel) == []


def test_a_burst_names_its_code_and_its_model() -> None:
    steady = SteadyPanel()
    for uid in ("1000", "1001", "1002"):
        steady.put("failures", ("embed", "rerank", "internal", uid), 12, 2)

    [found] = detect_burst(steady.panel)

    assert found.kind == "error-burst"
    assert found.subject == {"error_code": "internal", "model": "rerank"}
    assert found.after > 0.25
    assert found.severity == "critical"
    assert steady.panel.end - found.began == 12
    assert max(point[1] for point in found.evidence) <= 1  # rates, as its measure is
    assert found.evidence[-1][1] > 0.2 > found.evidence[0][1]


def test_errors_of_one_user_name_the_user() -> None:
    steady = SteadyPanel()
    for model in ("minilm", "rerank"):
        steady.put("failures", ("embed", model, "invalid", "1002"), 15, 4)

    [found] = detect_burst(steady.panel)

    assert found.subject == {"error_code": "invalid", "uid": "1002"}


def test_errors_that_are_usual_are_no_burst() -> None:
    steady = SteadyPanel()
    key = ("embed", "rerank", "invalid", "1000")
    steady.put("failures", key, 60, 2)
    for hour in range(800):
        steady.panel.failures.put_hour(
            key, steady.panel.failures.end_hour - 1 - hour, {"count": 120.0}
        )

    assert detect_burst(steady.panel) == []


def test_overload_is_left_to_saturation() -> None:
    steady = SteadyPanel()
    steady.put("failures", ("embed", "rerank", "overloaded", "1000"), 15, 20)

    assert detect_burst(steady.panel) == []


def test_a_container_that_dies_again_and_again_is_a_crash_loop() -> None:
    steady = SteadyPanel()
    steady.put("sources", ("container", "gateway", "", "error"), 25, 1, every=5)

    [found] = detect_crash_loop(steady.panel)

    assert (found.kind, found.subject) == ("crash-loop", {"name": "gateway"})
    assert found.after == 5


def test_workers_that_crash_name_the_model() -> None:
    steady = SteadyPanel()
    steady.put("failures", ("embed", "rerank", "worker_crashed", "1000"), 20, 1, every=4)

    assert [f.subject for f in detect_crash_loop(steady.panel)] == [{"model": "rerank"}]


def test_two_crashes_are_no_loop() -> None:
    steady = SteadyPanel()
    steady.put("sources", ("container", "gateway", "", "error"), 20, 1, every=10)

    assert detect_crash_loop(steady.panel) == []
