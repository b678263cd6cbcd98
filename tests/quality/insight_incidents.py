"""Incidents put into a copy of quiet events, in events alone: nothing tells the engine of them.

Each function changes the events of a span as the trouble would, and says what an operator would
want to read. Sizes run from what a person just sees in the figures to what nobody misses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from insight_columns import Array, Columns
from insight_days import DEVICES, MINUTE_US, PEOPLE, STREAMS, Days

MODELS = ("minilm", "rerank", "whisper", "ocr")
NAMES = ("search.query", "inference.embed", "audio.transcribe", "images.read")


@dataclass(frozen=True)
class Truth:
    """What was done to the events."""

    kind: str
    subject: dict[str, str]
    """One of these pairs must be in the insight's subject; empty: its subject is empty."""
    minutes: int
    size: str
    also: tuple[str, ...] = ()
    """Kinds that are as true of these events, and count neither way."""


class Injector:
    """Changes the events of one trial."""

    def __init__(self, days: Days, seed: int) -> None:
        self.days = days
        self.random = np.random.default_rng(seed)

    def events_in(self, span: Columns, start: int, minutes: int) -> Array:
        """Say of which events the incident's time is."""
        time = span.data["time_us"]
        inside: Array = (time >= start * MINUTE_US) & (time < (start + minutes) * MINUTE_US)
        return inside

    def _length(self, low: int = 35, high: int = 90) -> int:
        return int(self.random.integers(low, high))

    def _where(self, span: Columns, dim: str, value: str) -> Array:
        requests = span.where(kind="request")
        return requests & span.where(**{dim: value}) if dim else requests

    def _busy(
        self, span: Columns, start: int, minutes: int, options: list[tuple[str, str]]
    ) -> tuple[str, str]:
        """Draw a dimension and value with at least two requests in three minutes."""
        inside = self.events_in(span, start, minutes)
        busy = [o for o in options if (self._where(span, *o) & inside).sum() >= minutes * 2 / 3]
        if not busy:
            raise LookupError("nothing happens then")
        return busy[self.random.integers(0, len(busy))]

    def latency_shift(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes, factor = self._length(), float(self.random.uniform(1.7, 6))
        options = [*(("model", m) for m in MODELS), *(("device", d) for d in DEVICES)]
        options += [("name", "search.query"), ("uid", PEOPLE[0])]
        dim, value = self._busy(span, start, minutes, options)
        hit = self.events_in(span, start, minutes) & span.where(**{dim: value})
        hit &= span.where(kind="request") | span.where(kind="inference")
        span.data["duration_s"][hit] *= factor
        return span, Truth("latency-shift", {dim: value}, minutes, f"{factor:.1f}x")

    def change_point(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes, change = self._length(300, 360), float(self.random.uniform(0.18, 0.36))
        options = [
            *(("model", m) for m in ("minilm", "rerank")),
            *(("device", d) for d in DEVICES),
        ]
        dim, value = self._busy(span, start, minutes, options)
        hit = self.events_in(span, start, minutes) & span.where(**{dim: value})
        factor = 1 + change if self.random.random() < 0.7 else 1 / (1 + change)
        span.data["duration_s"][hit] *= factor
        return span, Truth("change-point", {dim: value}, minutes, f"{factor:.2f}x")

    def error_burst(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes, part = self._length(20, 60), float(self.random.uniform(0.12, 0.9))
        options = [*(("model", m) for m in MODELS), *(("name", n) for n in NAMES), ("", "")]
        dim, value = self._busy(span, start, minutes, options)
        code = str(self.random.choice(["internal", "timed_out", "model_corrupt", "disk_full"]))
        hit = self.events_in(span, start, minutes) & self._where(span, dim, value)
        hit &= self.random.random(len(span)) < part
        span.set(hit, error_code=code)
        return span, Truth("error-burst", {"error_code": code}, minutes, f"{part:.0%} of {value}")

    def traffic_drop(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes, kept = self._length(40, 100), float(self.random.choice([0, 0, 0.1, 0.2, 0.3]))
        options = [
            ("", ""),
            ("model", "minilm"),
            ("model", "ocr"),
            ("name", "search.query"),
            ("", ""),
        ]
        dim, value = self._busy(
            span, start, minutes, [o for o in options if self._thick(span, start, minutes, o)]
        )
        served = span.where(kind="request") | span.where(kind="inference")
        hit = self.events_in(span, start, minutes) & served
        hit &= span.where(**{dim: value}) if dim else True
        span = span.chosen(~(hit & (self.random.random(len(span)) >= kept)))
        return span, Truth(
            "traffic-drop", {dim: value} if dim else {}, minutes, f"{kept:.0%} left"
        )

    def _thick(self, span: Columns, start: int, minutes: int, option: tuple[str, str]) -> bool:
        inside = self.events_in(span, start, minutes)
        return bool((self._where(span, *option) & inside).sum() >= 2 * minutes)

    def traffic_surge(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes, factor = self._length(), float(self.random.uniform(2.7, 8))
        options = [("", ""), ("model", "minilm"), ("model", "whisper"), ("model", "ocr")]
        dim, value = self._busy(span, start, minutes, options)
        whole = int(minutes * self.random.uniform(1, 1.2)) + 2
        inside = self.events_in(span, start, minutes) & self._where(span, dim, value)
        more = span.chosen(inside)
        copies = [
            more.chosen(self.random.random(len(more)) < factor - 1 - n)
            for n in range(int(factor - 1) + 1)
        ]
        for copy in copies:
            copy.data["time_us"] = self.random.integers(
                start * MINUTE_US, (start + whole) * MINUTE_US, len(copy)
            )
            size = len(copy)
            copy.data["uid"] = self.days.pick(PEOPLE, size)
        extra = copies[0].joined(*copies[1:])
        span = span.joined(extra, self.days.batches(extra))
        return span, Truth("traffic-surge", {dim: value} if dim else {}, minutes, f"{factor:.1f}x")

    def noisy_user(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes, factor = self._length(), float(self.random.uniform(1.2, 5))
        inside = self.events_in(span, start, minutes) & span.where(kind="request")
        rate = max(float(inside.sum()) / minutes, 3.0) * factor
        at = start + np.repeat(np.arange(minutes), self.random.poisson(rate, minutes))
        stream = STREAMS[self.random.integers(0, 4)]
        uid = str(self.random.choice([*PEOPLE, "2001"]))
        extra = self.days.requests(stream, at, people=True, uid=uid)
        span = span.joined(extra, self.days.batches(extra))
        return span, Truth(
            "noisy-user", {"uid": uid}, minutes, f"{factor:.1f}x of all", ("traffic-surge",)
        )

    def cold_model(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes, took = self._length(260, 350), float(self.random.uniform(3, 30))
        model = "titles"
        span = span.chosen(~(self.events_in(span, start, minutes) & span.where(model=model)))
        gaps = np.cumsum(self.random.integers(12, 45, 40))
        firsts = start + gaps[gaps < minutes - 5]
        many = np.concatenate([firsts + n for n in range(3)])
        extra = self.days.requests(STREAMS[6], many, people=True)
        extra.set(extra.data["error_code"] > 0, error_code="")
        slow = np.isin(extra.data["time_us"] // MINUTE_US, firsts)
        extra.data["duration_s"][slow] = took * np.exp(self.random.normal(0, 0.3, int(slow.sum())))
        span = span.joined(extra, self.days.batches(extra))
        return span, Truth(
            "cold-model", {"model": model}, minutes, f"{took:.0f} s", ("latency-shift",)
        )

    def crash_loop(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes, every = self._length(40, 90), float(self.random.uniform(1, 7))
        if self.random.random() < 0.3:
            dim, model = self._busy(span, start, minutes, [("model", m) for m in MODELS])
            hit = self.events_in(span, start, minutes) & self._where(span, dim, model)
            span.set(hit & (self.random.random(len(span)) < 0.35), error_code="worker_crashed")
            return span, Truth("crash-loop", {"model": model}, minutes, "35 %")
        name = str(self.random.choice(["gateway", "engine", "mail"]))
        at = start + np.cumsum(self.random.exponential(every, 200) + 0.2)
        at = at[at < start + minutes].astype(int)
        extra = self.days.events(at, kind="container", name=name, error_code="exited")
        return span.joined(extra), Truth(
            "crash-loop", {"name": name}, minutes, f"each {every:.1f} min"
        )

    def saturation(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes, part = self._length(), float(self.random.uniform(0.12, 0.7))
        dim, model = self._busy(span, start, minutes, [("model", m) for m in MODELS])
        inside = self.events_in(span, start, minutes) & span.where(model=model)
        requests, runs = span.where(kind="request"), span.where(kind="inference")
        waits = self.random.exponential(self.random.uniform(0.8, 5), len(span))
        span.data["queue_s"] = np.where(inside & runs, waits, span.data["queue_s"])
        span.data["duration_s"] += np.where(inside & requests, waits, 0)
        if self.random.random() < 0.6:
            span.set(
                inside & requests & (self.random.random(len(span)) < part), error_code="overloaded"
            )
        return span, Truth("saturation", {dim: model}, minutes, f"{part:.0%}", ("latency-shift",))

    def disk_forecast(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes, hours = self._length(300, 360), float(self.random.uniform(6, 48))
        hit = span.where(kind="metric", name="disk.free_bytes")
        hit &= self.events_in(span, start, minutes + 60)
        past = (span.data["time_us"][hit] / MINUTE_US - start) / 60
        span.data["value"][hit] *= np.maximum(0.01, 1 - past / hours)
        return span, Truth("disk-forecast", {"name": "disk.free_bytes"}, minutes, f"{hours:.0f} h")

    def memory_growth(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes, rate = self._length(320, 380), float(self.random.uniform(0.09, 0.6))
        name = str(self.random.choice(["process.memory_bytes", "worker.memory_bytes"]))
        hit = span.where(kind="metric", name=name) & self.events_in(span, start, minutes + 60)
        past = (span.data["time_us"][hit] / MINUTE_US - start) / 60
        span.data["value"][hit] += span.data["value"][hit].max(initial=0) * rate * past
        return span, Truth("memory-growth", {"name": name}, minutes, f"{rate:.0%} an hour")

    def silent_source(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes = self._length(60, 120)
        options: list[dict[str, str]] = [
            {"name": f"{n}.health"} for n in ("gateway", "engine", "mail")
        ]
        options += [{"name": "temperature_c", "device": d} for d in DEVICES]
        texts = options[self.random.integers(0, len(options))]
        gone = self.events_in(span, start, minutes) & span.where(**texts)
        key = list(texts.items())[-1]
        return span.chosen(~gone), Truth("silent-source", dict([key]), minutes, "all of it")

    def slow_job(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        name, typical, low = [("search.index", 40, 7), ("analytics.compact", 200, 3)][
            self.random.integers(0, 2)
        ]
        factor = float(self.random.uniform(low, 25))
        extra = self.days.events(
            np.array([start + 3]),
            kind="job",
            name=name,
            job_id="slow",
            duration_s=np.array([typical * factor]),
        )
        return span.joined(extra), Truth("slow-job", {"name": name}, 40, f"{factor:.0f}x")

    def device_lost(self, span: Columns, start: int) -> tuple[Columns, Truth]:
        minutes = self._length(50, 100)
        _, device = self._busy(span, start, minutes, [("device", d) for d in DEVICES])
        hit = self.events_in(span, start, minutes) & span.where(device=device)
        hit &= span.where(kind="request") | span.where(kind="inference")
        others = tuple(d for d in DEVICES if d != device)
        span.data["device"][hit] = self.days.pick(others, int(hit.sum()))
        return span, Truth("device-lost", {"device": device}, minutes, "gone")

    def all(self) -> dict[str, Callable[[Columns, int], tuple[Columns, Truth]]]:
        """Give every kind of incident."""
        return {
            "latency-shift": self.latency_shift,
            "change-point": self.change_point,
            "error-burst": self.error_burst,
            "traffic-drop": self.traffic_drop,
            "traffic-surge": self.traffic_surge,
            "noisy-user": self.noisy_user,
            "cold-model": self.cold_model,
            "crash-loop": self.crash_loop,
            "saturation": self.saturation,
            "disk-forecast": self.disk_forecast,
            "memory-growth": self.memory_growth,
            "silent-source": self.silent_source,
            "slow-job": self.slow_job,
            "device-lost": self.device_lost,
        }
