"""The range of time that is looked at; refuses to know any clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

WINDOWS: list[tuple[str, int, int]] = [
    ("15m", 900, 15),
    ("1h", 3600, 60),
    ("6h", 21_600, 300),
    ("24h", 86_400, 1200),
    ("7d", 604_800, 7200),
]
"""Name, length and length of a bucket, in seconds."""


@dataclass(frozen=True)
class Frame:
    """A range of time that ends now, or where somebody travelled to."""

    now_us: int
    window: int = 1
    """Index into `WINDOWS`."""
    until_us: int = 0
    """0: now."""

    @property
    def name(self) -> str:
        """Such as ``1h``."""
        return WINDOWS[self.window][0]

    @property
    def window_s(self) -> int:
        """Length."""
        return WINDOWS[self.window][1]

    @property
    def step_s(self) -> int:
        """Length of a bucket."""
        return WINDOWS[self.window][2]

    @property
    def live(self) -> bool:
        """It ends now."""
        return self.until_us == 0

    @property
    def end_us(self) -> int:
        """Where it ends."""
        return self.until_us or self.now_us

    @property
    def begin_us(self) -> int:
        """Where it begins: at the beginning of a bucket."""
        step_us = self.step_s * 1_000_000
        return (self.end_us - self.window_s * 1_000_000) // step_us * step_us

    @property
    def buckets(self) -> list[int]:
        """Beginnings of its buckets, in microseconds."""
        return list(range(self.begin_us, self.end_us, self.step_s * 1_000_000))

    def stepped(self, halves: int) -> Frame:
        """Give the frame that many half ranges later; one that reaches now is live."""
        until_us = self.end_us + halves * self.window_s * 500_000
        return replace(self, until_us=0 if until_us >= self.now_us else max(until_us, 1))

    def resized(self, by: int) -> Frame:
        """Give the next longer or shorter range with the same end."""
        return replace(self, window=min(max(self.window + by, 0), len(WINDOWS) - 1))
