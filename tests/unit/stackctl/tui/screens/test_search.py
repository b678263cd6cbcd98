"""A question and its passages."""

from __future__ import annotations

from control_server import ControlServer
from dashboard import Run, opened, until, until_shown


def test_a_question_is_asked_once_and_its_passage_shown(run: Run) -> None:
    async def test(server: ControlServer) -> None:
        async with opened("search") as (_, pilot):
            await pilot.press("slash", *"rotate keys", "enter")
            await until_shown(pilot, "make a new one")
            asked = len(server.seen)
            await until(pilot, lambda: len(server.seen) > asked + 3)

    assert sum(path == "/v1/search" for _, path, _ in run(test).seen) == 1
