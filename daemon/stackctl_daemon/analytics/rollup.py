"""Rollups: figures of every minute and hour, and histograms of durations that can be merged.

Refuses to open files or transactions: each function runs inside the caller's. Rows are only
added: a late event adds a row to an old bucket, and what a question sums is always exact.
`compact` joins such rows later. How far rollups reach is stored beside them, so that neither a
crash nor an older release that knows no rollups can make them count an event twice or never.

A duration lies in bucket ``ceil(log(duration_s) / log(GAMMA))`` of its histogram, and a bucket
stands for ``2 * GAMMA**n / (GAMMA + 1)``, at most 0.99 % off. Source: DDSketch, Masson, Rim and
Lee 2019, section 2. One row a bucket merges faster in DuckDB than lists do (31 ms against 55 ms
over 2.1 million buckets), and conditions on dimensions apply to it as they stand.
"""

from __future__ import annotations

from typing import Any

GAMMA = 1.02
ZERO = -32_768
"""The histogram's bucket of durations below a nanosecond."""
MAX_GROUPS = 2_000
"""Groups of a minute that are told apart; an hour has five times as many."""
OTHER = "(other)"
"""Name, code, model and device of the group that takes the rest, with the user -2."""
OTHER_UID = -2
MINUTE_US = 60_000_000
HOUR_US = 3_600_000_000
WIDTHS = {"minutes": MINUTE_US, "hours": HOUR_US}

DIMENSIONS = ("kind", "name", "outcome", "error_code", "model", "device", "uid")
_KEPT = ("kind", "outcome")  # told apart in the group of the rest, too
_DIMS = ", ".join(DIMENSIONS)

INDEX_SQL = (
    f"CASE WHEN duration_s < 1e-9 THEN {ZERO} ELSE ceil(ln(duration_s) / ln({GAMMA})) "
    "END::SMALLINT"
)
"""A duration's bucket in its histogram."""
VALUE_SQL = f"CASE WHEN index = {ZERO} THEN 0.0 ELSE 2 * pow({GAMMA}, index) / ({GAMMA} + 1) END"
"""The duration that a bucket stands for."""

_COLUMNS = ", ".join(f"{name} {'BIGINT' if name == 'uid' else 'VARCHAR'}" for name in DIMENSIONS)
TABLES = (
    "CREATE TABLE IF NOT EXISTS rollup_offsets (seq BIGINT);\n"
    "INSERT INTO rollup_offsets SELECT 0 WHERE NOT EXISTS (FROM rollup_offsets);\n"
) + "\n".join(
    f"CREATE TABLE IF NOT EXISTS {table} (bucket_us BIGINT, {_COLUMNS}, count BIGINT, "
    "items HUGEINT, tokens HUGEINT, duration_s DOUBLE, max_s DOUBLE);\n"
    f"CREATE TABLE IF NOT EXISTS {table}_histogram (bucket_us BIGINT, {_COLUMNS}, "
    "index SMALLINT, count BIGINT);"
    for table in WIDTHS
)


def advance(connection: Any, until_seq: int) -> None:
    """Roll up the events whose number is below ``until_seq`` and that are not yet."""
    [(since,)] = connection.execute("SELECT seq FROM rollup_offsets").fetchall()
    if since >= until_seq:
        return
    _add(connection, "seq >= ? AND seq < ?", [since, until_seq], WIDTHS)
    connection.execute("UPDATE rollup_offsets SET seq = ?", [until_seq]).fetchall()


def overflowing(connection: Any, since_us: int, until_us: int) -> bool:
    """Say whether some group of the buckets in a range holds what could not be told apart."""
    rest = (OTHER_UID, OTHER)
    return bool(
        connection.execute(
            "SELECT 1 FROM minutes WHERE uid = ? AND name = ? AND bucket_us >= ? AND bucket_us < ?"
            " UNION ALL SELECT 1 FROM hours"
            " WHERE uid = ? AND name = ? AND bucket_us >= ? AND bucket_us < ? LIMIT 1",
            [*rest, since_us - MINUTE_US, until_us, *rest, since_us - HOUR_US, until_us],
        ).fetchall()
    )


def compact(connection: Any, since_us: int, until_us: int) -> int:
    """Join the rows of each group in buckets of a range; give how many rows that saved."""
    saved = 0
    for table in WIDTHS:
        for name, values, figures in (
            (table, "", "sum(count), sum(items), sum(tokens), sum(duration_s), max(max_s)"),
            (f"{table}_histogram", ", index", "sum(count)"),
        ):
            span = [since_us, until_us]
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE joined AS SELECT bucket_us, {_DIMS}{values}, "
                f"{figures} FROM {name} WHERE bucket_us >= ? AND bucket_us < ? GROUP BY ALL",
                span,
            ).fetchall()
            [(after,)] = connection.execute("SELECT count(*) FROM joined").fetchall()
            [(before,)] = connection.execute(
                f"SELECT count(*) FROM {name} WHERE bucket_us >= ? AND bucket_us < ?", span
            ).fetchall()
            if before > after:
                connection.execute(
                    f"DELETE FROM {name} WHERE bucket_us >= ? AND bucket_us < ?", span
                ).fetchall()
                connection.execute(
                    f"INSERT INTO {name} SELECT * FROM joined ORDER BY bucket_us, {_DIMS}"
                ).fetchall()
                saved += before - after
            connection.execute("DROP TABLE joined").fetchall()
    return saved


def forget(connection: Any, cutoff_us: int, touched: list[int]) -> None:
    """Drop the buckets that end before a time, and count those again that hold a time touched.

    The events before ``cutoff_us``, and those whose times are ``touched``, must be gone already.
    """
    for table, width in WIDTHS.items():
        buckets = sorted({time_us // width * width for time_us in [cutoff_us, *touched]})
        for name in (table, f"{table}_histogram"):
            connection.execute(
                f"DELETE FROM {name} WHERE bucket_us < ? OR list_contains(?::BIGINT[], bucket_us)",
                [cutoff_us // width * width, buckets],
            ).fetchall()
        where = (
            "time_us >= ? AND time_us < ? AND "
            f"list_contains(?::BIGINT[], time_us // {width} * {width})"
        )
        _add(connection, where, [buckets[0], buckets[-1] + width, buckets], {table: width})


def _add(connection: Any, where: str, values: list[Any], widths: dict[str, int]) -> None:
    """Add the rows of the events that a condition finds."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE fresh AS SELECT time_us, "
        f"{_DIMS}, items, tokens, duration_s, {INDEX_SQL} AS index FROM events WHERE {where}",
        values,
    ).fetchall()
    for table, width in widths.items():
        most = MAX_GROUPS if table == "minutes" else 5 * MAX_GROUPS
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE groups AS SELECT "
            f"time_us // {width} * {width} AS bucket_us, {_DIMS}, index, count(*) AS count, "
            "sum(items) AS items, sum(tokens) AS tokens, sum(duration_s) AS duration_s, "
            "max(duration_s) AS max_s FROM fresh GROUP BY ALL"
        ).fetchall()
        _bound(connection, table, most)
        connection.execute(
            f"INSERT INTO {table} SELECT bucket_us, {_DIMS}, sum(count), sum(items), "
            "sum(tokens), sum(duration_s), max(max_s) FROM groups GROUP BY ALL"
        ).fetchall()
        connection.execute(
            f"INSERT INTO {table}_histogram SELECT bucket_us, {_DIMS}, index, sum(count) "
            "FROM groups GROUP BY ALL"
        ).fetchall()
    connection.execute("DROP TABLE fresh; DROP TABLE groups").fetchall()


def _bound(connection: Any, table: str, most: int) -> None:
    """Rename the groups above ``most`` of a bucket, those that are new first, to the rest's."""
    key = f"bucket_us, {_DIMS}"
    # Bounds spelt out: a condition on a subquery would read the whole table.
    [(low, high)] = connection.execute(
        "SELECT min(bucket_us), max(bucket_us) FROM groups"
    ).fetchall()
    known = (
        f"SELECT DISTINCT {key} FROM {table} WHERE bucket_us >= {low or 0}"
        f" AND bucket_us <= {high or 0} AND bucket_us IN (SELECT bucket_us FROM groups)"
    )
    over = connection.execute(
        f"SELECT 1 FROM (SELECT DISTINCT {key} FROM groups UNION ({known}))"
        f" GROUP BY bucket_us HAVING count(*) > {most} LIMIT 1"
    ).fetchall()
    if not over:
        return
    rest = ", ".join(
        f"{OTHER_UID} AS uid"
        if name == "uid"
        else f"{name}"
        if name in _KEPT
        else f"CASE WHEN {name} = '' AND '{name}' <> 'name' THEN '' ELSE '{OTHER}' END AS {name}"
        for name in DIMENSIONS
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE kept AS SELECT {key} FROM (SELECT {key}, row_number() OVER"
        f" (PARTITION BY bucket_us ORDER BY known DESC, count DESC) AS place FROM ("
        f" SELECT {key}, max(known) AS known, sum(count) AS count FROM ("
        f" SELECT {key}, 0 AS known, count FROM groups UNION ALL"
        f" SELECT {key}, 1, 0 FROM ({known})) GROUP BY ALL)) WHERE place <= {most}"
    ).fetchall()
    figures = "index, count, items, tokens, duration_s, max_s"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE groups AS SELECT {key}, {figures} FROM groups"
        f" SEMI JOIN kept USING ({key}) UNION ALL"
        f" SELECT bucket_us, {rest}, {figures} FROM groups ANTI JOIN kept USING ({key})"
    ).fetchall()
    connection.execute("DROP TABLE kept").fetchall()
