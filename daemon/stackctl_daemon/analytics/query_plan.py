"""The plan of a question: its range, fields and conditions checked, and what to read for it.

Refuses to run SQL. Rollups are read for whole buckets and only where they tell apart what the
question does; events fill in the edges, so that counts are exact to the microsecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from stackctl.contracts.analytics import Measure, Query, Source
from stackctl.contracts.event import EventKind
from stackctl.errors import Invalid
from stackctl_daemon.analytics.query_field import Field, Sql, condition, dimension
from stackctl_daemon.analytics.rollup import HOUR_US, MINUTE_US

MEASURES: tuple[str, ...] = get_args(Measure)
QUANTILES = {"p50_s": 0.5, "p90_s": 0.9, "p95_s": 0.95, "p99_s": 0.99}
MAX_STEPS = 10_000
_HOURS_FROM_US = 6 * HOUR_US
_KINDS: tuple[str, ...] = get_args(EventKind)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the range and the table that it is read from."""

    source: Source
    since_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked question."""

    query: Query
    since_us: int
    until_us: int
    groups: tuple[Field, ...]
    conditions: tuple[Sql, ...]
    rolled_up: bool
    """Rollups hold all that it asks about."""
    dims_rest: bool
    """It is exact of groups that rollups do not tell apart: it asks for kind and outcome alone."""

    @property
    def step_us(self) -> int:
        """Length of a step; 0: none."""
        return self.query.step_s * 1_000_000

    @property
    def length_us(self) -> int:
        """Length of the range."""
        return self.until_us - self.since_us

    @property
    def quantiles(self) -> list[str]:
        """The quantiles that are asked for, in order."""
        return [measure for measure in dict.fromkeys(self.query.measures) if measure in QUANTILES]

    def pieces(self, *, rollups: bool, shift_us: int = 0) -> list[Piece]:
        """Give what to read for the range, ``shift_us`` earlier."""
        since, until = self.since_us - shift_us, self.until_us - shift_us
        width = self._width(shift_us) if rollups else 0
        if not width:
            return [Piece("events", since, until)]
        low, high = -(-since // MINUTE_US) * MINUTE_US, until // MINUTE_US * MINUTE_US
        if low >= high:
            return [Piece("events", since, until)]
        first, last = -(-since // HOUR_US) * HOUR_US, until // HOUR_US * HOUR_US
        middle = [Piece("minutes", low, high)]
        if width == HOUR_US and first < last:
            middle = [
                Piece("minutes", low, first),
                Piece("hours", first, last),
                Piece("minutes", last, high),
            ]
        pieces = [Piece("events", since, low), *middle, Piece("events", high, until)]
        return [piece for piece in pieces if piece.since_us < piece.until_us]

    def _width(self, shift_us: int) -> int:
        """Give the longest bucket that no step cuts; 0: none."""
        if not self.rolled_up:
            return 0
        step, shift = self.step_us, shift_us if self.step_us else 0
        if step % HOUR_US == 0 and shift % HOUR_US == 0 and self.length_us >= _HOURS_FROM_US:
            return HOUR_US
        return MINUTE_US if step % MINUTE_US == 0 and shift % MINUTE_US == 0 else 0


def plan(query: Query, now_us: int) -> Plan:
    """Check a question; ``now_us`` is where it ends when it does not say so.

    Raises:
        Invalid: something does not fit; the message names it and what is allowed.
    """
    until = query.until_us or now_us
    since = query.since_us or max(0, until - int(query.window_s * 1e6))
    if since >= until:
        raise Invalid(f"since_us is {since}, expected less than until_us, {until}")
    if query.step_s and (until - since) / (query.step_s * 1e6) > MAX_STEPS:
        least = -(-(until - since) // (MAX_STEPS * 1_000_000))
        raise Invalid(f"step_s is {query.step_s}, this range expects {least} or more")
    if not query.measures:
        raise Invalid(f"measures is empty, expected some of {', '.join(MEASURES)}")
    if query.kind and query.kind not in _KINDS:
        raise Invalid(f'kind is "{query.kind}", expected {", ".join(_KINDS)}')
    if len(set(query.group_by)) != len(query.group_by):
        raise Invalid(f"group_by names a field twice: {', '.join(query.group_by)}")
    groups = tuple(dimension(name) for name in query.group_by)
    tests = [condition(at, wanted) for at, wanted in enumerate(query.where)]
    order = query.order_by.removeprefix("-")
    orders = [*query.measures, *query.group_by, *(["time"] if query.step_s else [])]
    if query.compare:
        orders += [f"{measure}_before" for measure in query.measures]
    if order and order not in orders:
        raise Invalid(f'order_by is "{query.order_by}", expected {", ".join(orders)}')
    conditions = [sql for _, sql in tests]
    if query.kind:
        conditions.insert(0, Sql("kind = ?", (query.kind,)))
    used = [*groups, *(field for field, _ in tests)]
    return Plan(
        query=query,
        since_us=since,
        until_us=until,
        groups=groups,
        conditions=tuple(conditions),
        rolled_up=all(field.rolled_up for field in used),
        dims_rest=all(field.name in ("kind", "outcome") for field in used)
        and "users" not in query.measures,
    )
