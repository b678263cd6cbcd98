from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest

from stackctl.cli import figures
from stackctl.cli.output import Mode, Output
from stackctl.client.view import decode

COLUMNS = [
    {"name": "time_us", "role": "time", "unit": "us since epoch"},
    {"name": "name", "role": "group", "unit": ""},
    {"name": "count", "role": "measure", "unit": ""},
    {"name": "error_rate", "role": "measure", "unit": ""},
    {"name": "p95_s", "role": "measure", "unit": "s"},
    {"name": "rate_per_s_before", "role": "measure", "unit": "1/s"},
]
ROW: list[Any] = [1_790_000_040_000_000, "search.query\x1b[2J", 7, 0.25, 0.0123, None]


def result(rows: list[Any], **fields: Any) -> Any:
    found = {"columns": COLUMNS, "rows": rows, "source": "events", "exact": True}
    return decode(json.dumps(found | {"truncated": False, "elapsed_s": 0.01} | fields))


def printed(value: Any, mode: Mode = "text", width: int | None = None) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    figures.show(Output(mode=mode, width=width, out=out, err=err), value)
    return out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "localtime", time.gmtime)


def test_figures_have_their_units_and_no_control_characters() -> None:
    head, row, foot = printed(result([ROW]))[0].splitlines()

    assert head.split() == ["TIME", "NAME", "COUNT", "ERROR", "RATE", "P95", "RATE", "BEFORE"]
    assert row.split() == ["14:14", "search.query", "[2J", "7", "25.00%", "12.3", "ms", "-"]
    assert foot == "from events, 10 ms"


def test_times_of_two_days_have_a_date_and_of_seconds_seconds() -> None:
    later = [ROW[0] + 86_401_000_000, *ROW[1:]]

    assert "09-21 14:14:00" in printed(result([ROW, later]))[0]
    assert "09-22 14:14:01" in printed(result([ROW, later]))[0]


def test_the_source_and_what_is_missing_are_said() -> None:
    foot = printed(result([ROW], source="minutes", exact=False, truncated=True))[0].splitlines()[
        -1
    ]

    assert foot == "from minutes, quantiles within 1 %, 10 ms, more rows with --limit"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_table_fits_the_terminal(width: int) -> None:
    lines = printed(result([ROW]), width=width)[0].splitlines()[:-1]

    assert all(len(line) <= width for line in lines)
    assert "14:14" in lines[1]
    assert " 7" in lines[1]


def test_programs_get_raw_values() -> None:
    assert printed(result([ROW]), "plain")[0].split("\t")[2:5] == ["7", "0.25", "0.0123"]
    assert json.loads(printed(result([ROW]), "json")[0])["rows"] == [ROW]


def test_nothing_is_said_on_stderr() -> None:
    out, err = printed(result([]))

    assert err == "nothing in this range\n"
    assert out == "from events, 10 ms\n"


def test_values_of_sql_may_be_lists_and_objects() -> None:
    columns = [{"name": n, "role": "value", "unit": ""} for n in ("a", "b", "c")]
    value = result([[[1, 2], {"k": True}, False]], columns=columns)

    assert printed(value)[0].splitlines()[1].split() == ["[1,", "2]", '{"k":', "true}", "false"]
    assert printed(value, "plain")[0] == '[1, 2]\t{"k": true}\tfalse\n'


class Pages:
    """Gives pages in turn, and ends the following when there are none left."""

    def __init__(self, *pages: list[Any]) -> None:
        self.pages = list(pages)
        self.asked: list[dict[str, Any]] = []
        self.analytics = self

    def events(self, **asked: Any) -> Any:
        self.asked.append(asked)
        if not self.pages:
            raise KeyboardInterrupt
        items = self.pages.pop(0)
        last = items[-1]["seq"] if items else asked.get("after_seq", -1)
        return decode(json.dumps({"items": items, "next_seq": last}))


def stored(seq: int, name: str = "search.query", **fields: Any) -> dict[str, Any]:
    event = {
        "kind": "request", "name": name, "time_us": 1_790_000_040_123_000, "outcome": "ok",
        "error_code": "", "duration_s": 0.5, "model": "", "device": "", "uid": 0,
    }  # fmt: skip
    return {"seq": seq, "event": event | fields}


def tailed(pages: Pages, *, follow: bool, mode: Mode = "text") -> list[str]:
    out = io.StringIO()
    output = Output(mode=mode, out=out, err=out)
    try:
        figures.tail(output, pages, 2, kind="", follow=follow, pause=lambda _: None)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        assert follow
    return out.getvalue().splitlines()


def test_a_tail_shows_the_last_events_in_words() -> None:
    pages = Pages([stored(1), stored(2, outcome="error", error_code="not_found")])

    assert tailed(pages, follow=False) == [
        "2026-09-21 14:14:00.123 ok request search.query 500 ms",
        "2026-09-21 14:14:00.123 not_found request search.query 500 ms",
    ]
    assert pages.asked == [{"limit": 2, "kind": ""}]


def test_following_goes_on_behind_the_last_and_leaves_its_own_requests_out() -> None:
    pages = Pages([stored(4)], [], [stored(5, "analytics.events"), stored(6)])

    lines = tailed(pages, follow=True, mode="json")
    assert [json.loads(line)["seq"] for line in lines] == [4, 6]
    assert [asked.get("after_seq") for asked in pages.asked] == [None, 4, 4, 6]


def test_a_tail_for_programs_has_tabs() -> None:
    assert tailed(Pages([stored(4)]), follow=False, mode="plain")[0].split("\t")[:4] == [
        "4",
        "1790000040123000",
        "request",
        "search.query",
    ]
