"""The SQL of a plan: one SELECT with parameters, over events, minutes and hours.

Refuses to hold values: every one is a parameter. Quantiles of events are exact; from histograms
each rank's bucket is found and the two ranks around a quantile are weighed as for exact ones, so
that the result is as near as a bucket is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stackctl_daemon.analytics.query_plan import QUANTILES, Piece, Plan
from stackctl_daemon.analytics.rollup import INDEX_SQL, OTHER, VALUE_SQL

_EMPTY = {
    "count": "0",
    "errors": "0",
    "items": "0",
    "tokens": "0",
    "rate_per_s": "0.0",
    "users": "0",
}
"""What a measure is where nothing happened; the rest are unknown."""
_BIG = "least({}, 9223372036854775807)::BIGINT"


@dataclass
class Statement:
    """A SELECT and its parameters."""

    text: str
    values: list[Any]


def select(
    plan: Plan, *, rollups: bool, kept: list[list[Any]] | None = None, most: int
) -> Statement:
    """Give the SELECT of a plan's answer: time where there are steps, groups, measures.

    ``kept``: the groups that stay themselves, all others are summed as ``(other)``. ``most``:
    rows it gives at most.
    """
    keys = [*(["t"] if plan.step_us else []), *(f"g{at}" for at in range(len(plan.groups)))]
    now = _Range(plan, plan.pieces(rollups=rollups), 0, kept)
    text = f"WITH now AS ({now.sql(keys)})"
    values = now.values
    columns = [*keys]
    measures = list(dict.fromkeys(plan.query.measures))
    if plan.query.compare:
        length = plan.length_us
        before = _Range(plan, plan.pieces(rollups=rollups, shift_us=length), length, kept)
        text += f", earlier AS ({before.sql(keys)})"
        values += before.values
        columns += [f"{_or_empty('now', m)} AS {m}" for m in measures]
        columns += [f"{_or_empty('earlier', m)} AS {m}_before" for m in measures]
        using = f"FULL JOIN earlier USING ({', '.join(keys)})" if keys else "CROSS JOIN earlier"
        body = f"SELECT {', '.join(columns)} FROM now {using}"
    else:
        body = f"SELECT {', '.join([*keys, *measures])} FROM now"
    order = f"ORDER BY {_order(plan, keys)} " if keys else ""
    return Statement(f"{text} {body} {order}LIMIT {int(most)}", values)


class _Range:
    """The figures of one range, groups and steps apart."""

    def __init__(
        self, plan: Plan, pieces: list[Piece], shift_us: int, kept: list[list[Any]] | None
    ):
        self.values: list[Any] = []
        self._plan = plan
        self._pieces = pieces
        self._shift = shift_us
        self._kept = kept
        self._exact = all(piece.source == "events" for piece in pieces)

    def sql(self, keys: list[str]) -> str:
        """Give the SELECT; its parameters are in ``values`` then."""
        by = f"GROUP BY {', '.join(keys)}" if keys else ""
        quantiles = self._plan.quantiles
        ranks = [QUANTILES[name] for name in quantiles]
        exact = (
            f", quantile_cont(duration_s, {ranks}) AS quantiles"
            if quantiles and self._exact
            else ""
        )
        prefix = "".join(f"{key}, " for key in keys)
        totals = (
            f"SELECT {prefix}sum(count) AS n, sum(errors) AS e, sum(items) AS i, "
            f"sum(tokens) AS k, sum(duration_s) AS d, max(max_s) AS m, "
            f"count(DISTINCT uid) FILTER (uid >= 0) AS u{exact} "
            f"FROM ({self._rows(keys, histogram=False)}) {by}"
        )
        joined = "totals"
        text = f"WITH totals AS ({totals})"
        if quantiles and not self._exact:
            text += f", {self._ranked(keys)}"
            joined = (
                f"totals LEFT JOIN ranked USING ({', '.join(keys)})" if keys else "totals, ranked"
            )
        measures = ", ".join(
            f"{self._measure(m, quantiles)} AS {m}"
            for m in dict.fromkeys(self._plan.query.measures)
        )
        return f"{text} SELECT {prefix}{measures} FROM {joined}"

    def _rows(self, keys: list[str], *, histogram: bool) -> str:
        """Give the pieces' rows as one table, with groups named and times in steps."""
        parts = [self._piece(piece, histogram=histogram) for piece in self._pieces]
        rows = " UNION ALL ".join(parts)
        if self._kept is None or not self._plan.groups:
            return rows
        groups = [f"g{at}" for at in range(len(self._plan.groups))]
        match = f"list_contains(?::VARCHAR[][], [{', '.join(f'{g}::VARCHAR' for g in groups)}])"
        renamed = [
            f"CASE WHEN is_kept THEN {g}::VARCHAR ELSE '{OTHER}' END AS {g}" for g in groups
        ]
        self.values.insert(self._mark, [[str(value) for value in key] for key in self._kept])
        rest = f"* EXCLUDE ({', '.join(groups)}, is_kept)"
        marked = f"SELECT *, {match} AS is_kept FROM ({rows})"
        return f"SELECT {', '.join(renamed)}, {rest} FROM ({marked})"

    def _piece(self, piece: Piece, *, histogram: bool) -> str:
        plan, events = self._plan, piece.source == "events"
        if piece is self._pieces[0]:
            self._mark = len(self.values)
        time = "time_us" if events else "bucket_us"
        columns = []
        if step := plan.step_us:
            columns.append(f"({time} + {self._shift}) // {step} * {step} AS t")
        for at, field in enumerate(plan.groups):
            columns.append(f"{field.sql.text} AS g{at}")
            self.values += field.sql.values
        one = "1" if events else "count"
        if histogram:
            columns += [f"{INDEX_SQL} AS index" if events else "index", f"{one} AS count"]
        else:
            columns += [
                f"{one} AS count",
                f"CASE WHEN outcome = 'error' THEN {one} ELSE 0 END AS errors",
                "items",
                "tokens",
                "duration_s",
                "duration_s AS max_s" if events else "max_s",
                "uid",
            ]
        tests = [f"{time} >= ?", f"{time} < ?"]
        self.values += [piece.since_us, piece.until_us]
        for test in plan.conditions:
            tests.append(test.text)
            self.values += test.values
        table = f"{piece.source}_histogram" if histogram and not events else piece.source
        return f"SELECT {', '.join(columns)} FROM {table} WHERE {' AND '.join(tests)}"

    def _ranked(self, keys: list[str]) -> str:
        """Give the tables that find, for each quantile, the buckets of the two ranks around it."""
        by = f"PARTITION BY {', '.join(keys)} " if keys else ""
        group = f"GROUP BY {', '.join(keys)}" if keys else ""
        prefix = "".join(f"{key}, " for key in keys)
        found = []
        for at, name in enumerate(self._plan.quantiles):
            rank = f"({QUANTILES[name]}::DOUBLE * (total - 1))"
            found += [
                f"min(value) FILTER (upto > floor({rank})) AS low{at}",
                f"min(value) FILTER (upto > ceil({rank})) AS high{at}",
                f"any_value({rank} - floor({rank})) AS part{at}",
            ]
        merged = (
            f"SELECT {prefix}index, sum(count) AS count FROM ({self._rows(keys, histogram=True)})"
        )
        by_index = ", ".join([*keys, "index"])
        return (
            f"merged AS ({merged} GROUP BY {by_index}), "
            f"ranks AS (SELECT {prefix}{VALUE_SQL} AS value, sum(count) OVER "
            f"({by}ORDER BY index) AS upto, sum(count) OVER ({by}) AS total FROM merged), "
            f"ranked AS (SELECT {prefix}{', '.join(found)} FROM ranks {group})"
        )

    def _measure(self, name: str, quantiles: list[str]) -> str:
        simple = {
            "count": _BIG.format("coalesce(n, 0)"),
            "errors": _BIG.format("coalesce(e, 0)"),
            "error_rate": "e / n",
            "rate_per_s": f"coalesce(n, 0) / ({self._seconds()})",
            "items": _BIG.format("coalesce(i, 0)"),
            "tokens": _BIG.format("coalesce(k, 0)"),
            "mean_s": "d / n",
            "max_s": "m",
            "users": "u",
        }
        if name in simple:
            return simple[name]
        at = quantiles.index(name)
        if self._exact:
            return f"quantiles[{at + 1}]"
        # No estimate is above the greatest duration there was.
        return f"least(m, low{at} + part{at} * (high{at} - low{at}))"

    def _seconds(self) -> str:
        """Give the seconds of a row's step that lie in the range."""
        plan = self._plan
        if not plan.step_us:
            return f"{plan.length_us} / 1e6"
        return f"(least(t + {plan.step_us}, {plan.until_us}) - greatest(t, {plan.since_us})) / 1e6"


def _or_empty(table: str, measure: str) -> str:
    if measure in _EMPTY:
        return f"coalesce({table}.{measure}, {_EMPTY[measure]})"
    return f"{table}.{measure}"


def _order(plan: Plan, keys: list[str]) -> str:
    wanted = plan.query.order_by
    others = [f"g{at} = '{OTHER}'" for at in range(len(plan.groups))] if plan.query.others else []
    rest = [key for key in keys if key == "t"] + others + [key for key in keys if key != "t"]
    if not wanted:
        return ", ".join(rest)
    name = wanted.removeprefix("-")
    if name == "time":
        column = "t"
    elif name in plan.query.group_by:
        column = f"g{plan.query.group_by.index(name)}"
    else:
        column = name
    direction = "DESC" if wanted.startswith("-") else "ASC"
    return ", ".join([*others, f"{column} {direction} NULLS LAST", *rest])
