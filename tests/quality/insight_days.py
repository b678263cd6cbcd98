"""Quiet days of a made-up stack: seasons, bursts, heavy tails; nothing here knows a threshold.

People work from morning to evening and less on weekends, programs all the time, a batch at
night. Latency is lognormal, follows load, wanders, and one answer in a hundred is ten times as
slow. Some errors, a few mistaken scripts, a short queue now and then belong to quiet days.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from insight_columns import NUMBERS, TEXTS, Array, Columns, Vocabulary

MINUTE_US = 60_000_000
START = 29_000_160  # minute since the epoch; 2025-02-20T00:00Z is 29,000,160
DEVICES = ("cpu:0", "cpu:1", "gpu:0")
SHARES = (0.45, 0.3, 0.25)


@dataclass(frozen=True)
class Stream:
    """Requests of one route to one model."""

    name: str
    model: str
    human: float
    """A minute at the busiest hour, from people."""
    steady: float
    """A minute, from programs."""
    typical_s: float


STREAMS = (
    Stream("inference.embed", "minilm", 5.0, 2.0, 0.02),
    Stream("search.query", "minilm", 6.0, 0.5, 0.05),
    Stream("search.query", "rerank", 3.0, 0.2, 0.12),
    Stream("inference.rerank", "rerank", 1.0, 1.0, 0.1),
    Stream("audio.transcribe", "whisper", 1.5, 0.1, 1.5),
    Stream("images.read", "ocr", 2.0, 0.8, 0.4),
    Stream("inference.run", "titles", 0.05, 0.01, 0.3),
    Stream("status.show", "", 1.5, 1.0, 0.004),
    Stream("jobs.list", "", 1.0, 0.2, 0.006),
)
PEOPLE = tuple(str(uid) for uid in range(1000, 1012))
PROGRAMS = ("990", "991", "992")
CODES = ("invalid", "not_found", "timed_out", "internal")


class Days:
    """Makes events of consecutive days from a seed."""

    def __init__(self, seed: int, days: int) -> None:
        self.random = np.random.default_rng(seed)
        self.words = Vocabulary.new()
        self.minutes = days * 1440
        self.clock = np.arange(START, START + self.minutes)

    def make(self) -> Columns:
        """Give the events of all days."""
        parts = [*self._requests(), *self._bursts(), self._jobs(), *self._metrics()]
        parts += self._containers()
        whole = parts[0].joined(*parts[1:])
        return whole.joined(self.batches(whole))

    def events(self, minutes: Array, **fields: str | Array) -> Columns:
        """Make events at random seconds of the given minutes."""
        size = len(minutes)
        data: dict[str, Array] = {
            "time_us": minutes.astype(np.int64) * MINUTE_US
            + self.random.integers(0, MINUTE_US, size)
        }
        for name in TEXTS:
            value = fields.get(name, "")
            code = self.words.code(value) if isinstance(value, str) else value
            data[name] = np.full(size, code) if isinstance(code, int) else code
        for name in NUMBERS:
            value = fields.get(name)
            data[name] = np.zeros(size) if value is None else np.asarray(value, float)
        return Columns(data, self.words)

    def codes(self, texts: tuple[str, ...]) -> Array:
        """Give the numbers of texts."""
        return np.array([self.words.code(text) for text in texts])

    def pick(self, texts: tuple[str, ...], size: int, weights: Array | None = None) -> Array:
        """Draw texts, as numbers."""
        share = None if weights is None else np.asarray(weights) / np.sum(weights)
        return self.codes(texts)[self.random.choice(len(texts), size, p=share)]

    def wander(self, deviation: float, memory_minutes: float) -> Array:
        """Give a slow random walk around zero, one value a minute."""
        steps = self.minutes // 10 + 2
        keep = np.exp(-10 / memory_minutes)
        shocks = self.random.normal(0, deviation * np.sqrt(1 - keep * keep), steps)
        walk = np.zeros(steps)
        for at in range(1, steps):
            walk[at] = keep * walk[at - 1] + shocks[at]
        return np.interp(np.arange(self.minutes), np.arange(steps) * 10, walk)

    def _season(self) -> Array:
        """Give how busy people are, 0 to 1, with days that differ from one another."""
        hour = self.clock / 60 % 24
        day = self.clock // 1440
        shape = 0.04 + np.exp(-(((hour - 10.5) / 2.2) ** 2))
        shape += 0.9 * np.exp(-(((hour - 15) / 2.4) ** 2)) + 0.2 * np.exp(
            -(((hour - 20.5) / 1.5) ** 2)
        )
        weekday = np.array([1.0, 1.05, 1.0, 0.97, 0.85, 0.25, 0.2])[(day + 3) % 7]
        days = np.exp(self.random.normal(0, 0.06, self.minutes // 1440 + 1))[day - day[0]]
        return np.asarray(shape / 1.2 * weekday * days * np.exp(self.wander(0.12, 45)))

    def _requests(self) -> list[Columns]:
        season = self._season()
        load = season / season.max()
        found = []
        moods = {model: self.wander(0.05, 180) for model in {s.model for s in STREAMS}}
        for stream in STREAMS:
            for rate, people in (
                (stream.human * season, True),
                (np.full_like(season, stream.steady), False),
            ):
                counts = self.random.poisson(rate * np.exp(self.wander(0.08, 20)))
                minutes = np.repeat(self.clock, counts)
                made = self.requests(stream, minutes, people=people)
                at = minutes - START
                made.data["duration_s"] *= (1 + 0.5 * load[at]) * np.exp(moods[stream.model][at])
                found.append(made)
        return found

    def requests(self, stream: Stream, minutes: Array, *, people: bool, uid: str = "") -> Columns:
        """Make requests of a stream, as fast and as faulty as on any quiet day."""
        size = len(minutes)
        took = stream.typical_s * np.exp(self.random.normal(0, 0.45, size))
        slow = self.random.random(size) < 0.01
        took[slow] *= np.exp(self.random.normal(2.2, 0.6, int(slow.sum())))
        users = PEOPLE if people else PROGRAMS
        weights = 1 / np.arange(1, len(users) + 1) ** 0.8
        failed = self.random.random(size) < 0.006
        codes = np.where(failed, self.pick(CODES, size, np.array([4, 4, 2, 1])), 0)
        if stream.model:
            refused = self.random.random(size) < 0.0004
            codes = np.where(refused, self.words.code("overloaded"), codes)
        return self.events(
            minutes,
            kind="request",
            name=stream.name,
            model=stream.model,
            device=self.pick(DEVICES, size, np.array(SHARES)) if stream.model else "",
            uid=uid or self.pick(users, size, weights),
            error_code=codes,
            duration_s=took,
        )

    def batches(self, requests: Columns) -> Columns:
        """Give the batch that each request with a model ran in; some wait in a queue."""
        ran = requests.where(kind="request") & (requests.data["model"] > 0)
        ran &= requests.data["error_code"] == 0
        found = requests.chosen(ran)
        found.set(np.ones(len(found), bool), kind="inference", uid="", name="run")
        found.data["duration_s"] *= 0.8
        waited = self.random.exponential(0.01, len(found))
        crowded = self.random.random(len(found)) < 0.02
        found.data["queue_s"] = np.where(
            crowded, waited + self.random.exponential(0.4, len(found)), waited
        )
        return found

    def _bursts(self) -> list[Columns]:
        """Scripts of people: some dozens of requests in a few minutes, some of them mistaken."""
        found = []
        for _ in range(self.random.poisson(2.5 * self.minutes / 1440)):
            stream = STREAMS[self.random.integers(0, 4)]
            start = START + int(self.random.integers(0, self.minutes - 10))
            size = int(np.clip(self.random.lognormal(3.2, 0.5), 8, 80))
            minutes = start + self.random.integers(0, self.random.integers(2, 8), size)
            uid = str(self.random.choice(PEOPLE))
            made = self.requests(stream, minutes, people=True, uid=uid)
            if self.random.random() < 0.08:
                made.set(self.random.random(size) < 0.25, error_code="invalid")
            found.append(made)
        for day in range(self.minutes // 1440):
            minutes = (
                START + day * 1440 + 120 + self.random.integers(0, 50, self.random.poisson(400))
            )
            found.append(self.requests(STREAMS[0], minutes, people=False, uid="993"))
        return found

    def _jobs(self) -> Columns:
        hourly = self.clock[7::60]
        writes = np.repeat(hourly + 1, self.random.poisson(3, len(hourly)))
        nightly = self.clock[180::1440]
        pulls = self.random.choice(self.clock, self.minutes // 1440)
        parts = []
        for name, minutes, typical, deviation in (
            ("search.index", hourly, 40, 0.4),
            ("search.index.write", writes, 0.4, 0.5),
            ("analytics.compact", nightly, 200, 0.2),
            ("models.pull", pulls, 30, 0.8),
        ):
            took = typical * np.exp(self.random.normal(0, deviation, len(minutes)))
            ids = self.codes(tuple(f"j{n % 997}" for n in range(len(minutes))))
            parts.append(self.events(minutes, kind="job", name=name, job_id=ids, duration_s=took))
        return parts[0].joined(*parts[1:])

    def _metrics(self) -> list[Columns]:
        hour = self.clock / 60 % 24
        noise = self.random.normal(0, 1, self.minutes)
        free = 300e9 - 0.4e9 * (self.clock - START) / 1440 - 1.2e9 * hour / 24
        free += 0.2e9 * self.wander(1, 300) + 5e6 * noise
        resident = 220e6 + 60e6 * self._season() + 3e6 * noise + 8e6 * self.wander(1, 600)
        worker = 900e6 + 100e6 * self.wander(1, 400) + 4e6 * noise
        found = [
            self.events(self.clock, kind="metric", name=name, device=device, value=value)
            for name, device, value in (
                ("disk.free_bytes", "", free),
                ("process.memory_bytes", "", resident),
                ("worker.memory_bytes", "cpu:0", worker),
            )
        ]
        for device in DEVICES:
            heat = 55 + 10 * self._season() + self.random.normal(0, 1, self.minutes)
            kept = self.random.random(self.minutes) < 0.97
            found.append(
                self.events(
                    self.clock[kept],
                    kind="metric",
                    name="temperature_c",
                    device=device,
                    value=heat[kept],
                )
            )
        return found

    def _containers(self) -> list[Columns]:
        found = []
        for name, every in (("gateway", 1), ("engine", 2), ("mail", 5)):
            beats = self.clock[::every]
            found.append(self.events(beats, kind="container", name=f"{name}.health"))
            crashes = self.random.choice(
                self.clock, self.random.poisson(0.3 * self.minutes / 1440)
            )
            found.append(self.events(crashes, kind="container", name=name, error_code="exited"))
        return found
