"""A SELECT and its rows."""

from __future__ import annotations

from control_server import ControlServer
from dashboard import Run, opened, until_shown


def test_a_select_shows_its_rows_once(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened("sql") as (_, pilot):
            await pilot.press("slash", "enter")
            await until_shown(pilot, "search.index")
            await until_shown(pilot, "2 rows in 4 ms")

    assert sum(path == "/v1/analytics/sql" for _, path, _ in run(test).seen) == 1
