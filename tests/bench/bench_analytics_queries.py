"""Ten questions of a dashboard from rollups, as a ratio to the same ones from raw events.

One file of a week of events, written as the first release did and migrated; both ways take turns
in the same run. ``--days`` puts the events into less time and asks for as much less: what counts
is how many fall into an hour. Run it:
``python tests/bench/bench_analytics_queries.py [--events 2000000] [--days 7]``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

from stackctl.contracts.analytics import Filter, Query, QueryResult
from stackctl_daemon.analytics.question import EXACT_EVENTS, answer
from stackctl_daemon.analytics.store import Store

END_US = 1_790_000_000_000_000
WEEK_S = 7 * 86_400
ROUNDS = 5
TABLES = """
CREATE TABLE schema_version (version INTEGER);
CREATE TABLE load_offsets (segment BIGINT, "offset" BIGINT);
CREATE TABLE events (
  id VARCHAR, kind VARCHAR, name VARCHAR, time_us BIGINT, outcome VARCHAR, error_code VARCHAR,
  duration_s DOUBLE, items BIGINT, tokens BIGINT, model VARCHAR, device VARCHAR, job_id VARCHAR,
  request_id VARCHAR, uid BIGINT, attributes VARCHAR, seq BIGINT, loaded_us BIGINT);
INSERT INTO schema_version VALUES (1);
INSERT INTO load_offsets VALUES (1, 1);
"""
FILL = """
INSERT INTO events SELECT 'e' || r, CASE WHEN n % 3 = 0 THEN 'inference' ELSE 'request' END,
  'route.' || n, {start} + r * {gap},
  CASE WHEN hash(r + 1) % 50 = 0 THEN 'error' ELSE 'ok' END,
  CASE WHEN hash(r + 1) % 50 = 0 THEN 'timed_out' ELSE '' END,
  exp((hash(r + 2) % 1000 + hash(r + 5) % 1000 + hash(r + 6) % 1000) / 1000.0 - 5),
  1, 64, 'model-' || (n % 4),
  'cpu:' || (n % 2), '', 'q' || r, 1000 + hash(r + 4) % 5, '{{}}', r, {start}
FROM (SELECT r, hash(r) % 24 AS n FROM range({count}) t(r))
"""
QUESTIONS: dict[str, dict[str, Any]] = {
    "totals of a week": {"window_s": WEEK_S},
    "totals of a day, and the day before": {"window_s": 86_400, "compare": True},
    "a week by hours": {"window_s": WEEK_S, "step_s": 3600},
    "a day by five minutes": {"window_s": 86_400, "step_s": 300},
    "a week by names": {"window_s": WEEK_S, "group_by": ["name"], "order_by": "-count"},
    "counts of a week by models and days": {
        "window_s": WEEK_S, "step_s": 86_400, "group_by": ["model"],
        "measures": ["count", "error_rate", "tokens"],
    },
    "the top five names by p95, and the rest": {
        "window_s": WEEK_S, "group_by": ["name"], "order_by": "-p95_s", "limit": 5, "others": True,
    },
    "errors of a week by codes and names": {
        "window_s": WEEK_S, "group_by": ["error_code", "name"], "measures": ["count"],
        "where": [Filter(field="outcome", value="error")],
    },
    "one model by hours": {
        "window_s": WEEK_S, "step_s": 3600, "where": [Filter(field="model", value="model-1")],
    },
    "users of a week": {
        "window_s": WEEK_S, "group_by": ["uid"], "measures": ["count", "errors", "p95_s"],
    },
}  # fmt: skip


def fill(path: Path, count: int, days: float) -> None:
    """Write events of some days as the first release's file."""
    gap = int(days * 86_400 * 1_000_000 / count)
    config = {"storage_compatibility_version": "v1.4.0", "threads": 2}
    with duckdb.connect(str(path), config=config) as made:
        made.execute(TABLES).fetchall()
        start = END_US - count * gap
        made.execute(FILL.format(count=count, gap=gap, start=start)).fetchall()


def asked(store: Store, fields: dict[str, Any], exact_events: int) -> tuple[float, QueryResult]:
    """Give the seconds that an answer took, and the answer."""
    query = Query(until_us=END_US, **fields)
    with store.reading() as cursor:
        began = time.perf_counter()
        found = answer(cursor, query, END_US, exact_events=exact_events)
        return time.perf_counter() - began, found


def main() -> None:
    """Fill, migrate, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--days", type=float, default=7.0)
    options = parser.parse_args()
    count, days = options.events, options.days
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "analytics.duckdb"
        fill(path, count, days)
        before = path.stat().st_size
        store = Store(path)
        began = time.perf_counter()
        assert store.position is not None
        took = time.perf_counter() - began
        store.close()
        after = path.stat().st_size
        assert store.position is not None
        print(
            f"{count} events, {before >> 20} MiB; migrated in {took:.1f} s "
            f"({count / took:,.0f}/s), {after >> 20} MiB"
        )
        for name, fields in QUESTIONS.items():
            rolled, raw = [], []
            scaled = fields | {"window_s": fields["window_s"] * days / 7}
            for _ in range(ROUNDS):
                took, ours = asked(store, scaled, EXACT_EVENTS)
                rolled.append(took)
                took, theirs = asked(store, scaled, 2**60)
                raw.append(took)
            assert len(ours.rows) == len(theirs.rows)
            fast, slow = statistics.median(rolled), statistics.median(raw)
            spread = (max(rolled) - min(rolled)) / fast
            print(
                f"{slow / fast:6.1f}x  {fast * 1e3:7.1f} ms (spread {spread:.0%}) from "
                f"{ours.source}, {slow * 1e3:7.1f} ms from events: {name}"
            )
        store.close()


if __name__ == "__main__":
    main()
