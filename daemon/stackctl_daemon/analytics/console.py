"""One SELECT of a user, run so that it can read the analytics tables and nothing else.

Refuses every other statement by its kind, table functions that are not on a list, and tables that
are not ours; DuckDB itself has no access to files, its settings are locked, and the transaction
is read-only. Rows and bytes of an answer are bounded. What one expression makes (a list of
millions, a text that is doubled again and again) is bounded by DuckDB neither in memory nor in
time, so it is for those who own the daemon.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Any

from stackctl.contracts.analytics import Column, QueryResult, SqlRequest
from stackctl.errors import Invalid, TooLarge

TABLES = ("events", "minutes", "hours", "minutes_histogram", "hours_histogram")
FUNCTIONS = ("range", "generate_series", "unnest", "json_each", "json_tree", "repeat")
"""Table functions that make rows of their arguments alone."""
MAX_BYTES = 8 << 20
_FETCH = 100
_TAKEN = """
SELECT lower(view_name) FROM duckdb_views() UNION SELECT lower(table_name) FROM duckdb_tables()
"""
_FIX = "stackctl analytics sql 'SELECT name, count(*) FROM events GROUP BY name'"


def run(cursor: Any, request: SqlRequest) -> QueryResult:
    """Answer a SELECT.

    Raises:
        Invalid: it is no single SELECT, reads something else, or DuckDB finds it wrong.
        TooLarge: the answer is above 8 MiB.
    """
    import duckdb

    began = time.perf_counter()
    try:
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        check(cursor, request.sql)
        cursor.execute(request.sql)
        columns = [Column(name=entry[0], role="value") for entry in cursor.description]
        rows = _fetch(cursor, request.limit + 1)
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        raise
    except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as err:
        raise Invalid(f"sql: {_said(err)}", hint=_FIX) from err
    return QueryResult(
        columns=columns,
        rows=rows[: request.limit],
        truncated=len(rows) > request.limit,
        elapsed_s=time.perf_counter() - began,
    )


def check(cursor: Any, sql: str) -> None:
    """Refuse what is not one SELECT over our tables.

    Raises:
        Invalid: as said; the message names what was found.
        duckdb.Error: it cannot be parsed.
    """
    import duckdb

    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise Invalid(f"sql has {len(statements)} statements, expected one SELECT", hint=_FIX)
    kind = statements[0].type
    if kind != duckdb.StatementType.SELECT:
        raise Invalid(f"sql is of kind {kind.name}, expected a SELECT", hint=_FIX)
    if statements[0].named_parameters:
        raise Invalid("sql has parameters, expected values", hint=_FIX)
    [(text,)] = cursor.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    try:
        tree = json.loads(text)
    except RecursionError as err:
        raise Invalid("sql is nested too deeply", hint=_FIX) from err
    if tree.get("error"):
        raise Invalid(f"sql is refused: {tree.get('error_message')}", hint=_FIX)
    nodes = list(_nodes(tree))
    named = {name.lower() for node in nodes for name in _common_tables(node)}
    # Outside its own query such a name would mean what DuckDB calls so.
    taken = named & {name for (name,) in cursor.execute(_TAKEN).fetchall()}
    if taken:
        raise Invalid(f'sql names a part of it "{min(taken)}", expected a new name', hint=_FIX)
    for node in nodes:
        _check_node(node, named)


def _check_node(node: dict[str, Any], named: set[str]) -> None:
    kind = node.get("type")
    if kind == "TABLE_FUNCTION":
        name = str(node.get("function", {}).get("function_name", "")).lower()
        if name not in FUNCTIONS:
            raise Invalid(f'sql reads "{name}", expected {", ".join(FUNCTIONS)}', hint=_FIX)
    elif kind == "BASE_TABLE":
        name = str(node.get("table_name", "")).lower()
        elsewhere = node.get("schema_name") or node.get("catalog_name")
        if elsewhere or name not in (*TABLES, *named):
            shown = ".".join(filter(None, [node.get("schema_name"), name]))
            raise Invalid(f'sql reads "{shown}", expected {", ".join(TABLES)}', hint=_FIX)
    elif kind == "SHOW_REF":
        raise Invalid("sql describes or shows, expected a SELECT", hint=_FIX)
    elif kind in ("INSERT_NODE", "UPDATE_NODE", "DELETE_NODE", "MERGE_NODE"):
        raise Invalid(f"sql holds {kind.removesuffix('_NODE')}, expected a SELECT", hint=_FIX)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Give every object of a parsed statement; without recursion, as it may be deep."""
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _common_tables(node: dict[str, Any]) -> list[str]:
    """Give the names that a ``WITH`` declares."""
    declared = node.get("cte_map")
    if not isinstance(declared, dict):
        return []
    return [str(entry.get("key", "")) for entry in declared.get("map", [])]


def _fetch(cursor: Any, most: int) -> list[list[Any]]:
    rows: list[list[Any]] = []
    left = MAX_BYTES
    while len(rows) < most and (found := cursor.fetchmany(min(_FETCH, most - len(rows)))):
        for row in found:
            rows.append([_plain(value) for value in row])
            left -= sum(_size(value) for value in rows[-1])
        if left < 0:
            raise TooLarge(f"the answer is above {MAX_BYTES >> 20} MiB: ask for fewer rows")
    return rows


def _plain(value: Any) -> Any:
    """Give a value as JSON has it; numbers without a meaning there are null."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    return value.hex() if isinstance(value, bytes) else str(value)


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(_size, value)) + 8
    if isinstance(value, dict):
        return sum(len(name) + _size(entry) for name, entry in value.items())
    return 8


def _said(err: Exception) -> str:
    """Give DuckDB's first sentence, without the name of its class."""
    text = str(err).splitlines()[0] if str(err) else type(err).__name__
    return text[:500]
