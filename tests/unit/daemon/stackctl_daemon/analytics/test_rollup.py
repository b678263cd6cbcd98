from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stackctl.contracts.analytics import Filter, Query, QueryResult
from stackctl.contracts.event import Event
from stackctl_daemon.analytics import rollup
from stackctl_daemon.analytics.frame import decode_rows, encode_frame
from stackctl_daemon.analytics.question import answer
from stackctl_daemon.analytics.segment_log import Position
from stackctl_daemon.analytics.store import Store
from stackctl_daemon.events import new_event

DAY_US = 86_400_000_000
START_US = 1_790_000_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "analytics.duckdb")
    yield opened
    opened.close()


def put(store: Store, events: list[Event]) -> None:
    data = encode_frame(events)
    store.insert(decode_rows(data, 0, len(data)), Position(1, 1))


def ask(store: Store, *, rollups: bool, **fields: Any) -> QueryResult:
    with store.reading() as cursor:
        return answer(
            cursor, Query(**fields), START_US + 2 * DAY_US, exact_events=-1 if rollups else 2**60
        )


def some_events(chance: random.Random, count: int, prefix: str) -> list[Event]:
    """Events of two days, most of them late, with durations over twelve decades."""
    return [
        Event(
            id=f"{prefix}-{n}",
            kind=chance.choice(["request", "job"]),
            name=chance.choice(["a", "b", "c"]),
            time_us=START_US + int(chance.betavariate(2, 1) * DAY_US),
            outcome=chance.choice(["ok", "ok", "error"]),
            model=chance.choice(["", "m"]),
            uid=chance.randrange(-1, 4),
            items=chance.randrange(10),
            tokens=chance.choice([0, 2**53]),
            duration_s=chance.choice(
                [0.0, 10 ** chance.uniform(-9, 3), chance.lognormvariate(0, 1)]
            ),
        )
        for n in range(count)
    ]


QUESTIONS: list[dict[str, Any]] = [
    {},
    {"step_s": 3600},
    {"step_s": 300, "group_by": ["name"]},
    {"step_s": 86_400, "group_by": ["kind", "uid"]},
    {"group_by": ["name", "model"], "order_by": "-count"},
    {"group_by": ["name", "uid"], "order_by": "-errors", "limit": 3, "others": True},
    {"step_s": 7200, "group_by": ["uid"], "limit": 2, "others": True},
    {"kind": "job", "where": [Filter(field="name", op="in", value=["a", "b"])]},
    {"where": [Filter(field="outcome", op="ne", value="ok")], "group_by": ["outcome"]},
    {"compare": True, "group_by": ["name"]},
    {"compare": True, "step_s": 3600, "where": [Filter(field="uid", value=1)]},
]
MEASURES = [
    "count", "errors", "error_rate", "rate_per_s", "items", "tokens", "mean_s", "p50_s", "p90_s",
    "p95_s", "p99_s", "max_s", "users",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_rollups_answer_as_events_do(store: Store, seed: int) -> None:
    """Counts are the same, also of late events; quantiles are within 1 % of the exact ones."""
    chance = random.Random(seed)
    for batch in range(5):
        put(store, some_events(chance, 400, f"b{batch}"))
    since = START_US + chance.randrange(DAY_US // 2)
    until = since + chance.choice([36_000_000_000, 36_000_000_001, 3_600_000_000, 90_000_000])

    for question in QUESTIONS:
        fields = {"measures": MEASURES, "since_us": since, "until_us": until, **question}
        rolled, exact = ask(store, rollups=True, **fields), ask(store, rollups=False, **fields)
        names = [column.name for column in exact.columns]
        assert len(rolled.rows) == len(exact.rows)
        assert exact.source == "events"
        for ours, theirs in zip(rolled.rows, exact.rows, strict=True):
            for name, mine, right in zip(names, ours, theirs, strict=True):
                if right is not None and name.startswith(("p50", "p90", "p95", "p99")):
                    assert mine == pytest.approx(right, rel=0.01, abs=1e-9), (question, name)
                elif isinstance(right, float):
                    assert mine == pytest.approx(right, rel=1e-9), (question, name)
                else:
                    assert mine == right, (question, name)


def test_counts_are_those_of_a_loop_over_the_events(store: Store) -> None:
    chance = random.Random(9)
    events = some_events(chance, 3000, "e")
    for at in range(0, 3000, 700):
        put(store, events[at : at + 700])
    put(store, events[:100])  # repeated: stored once

    found = ask(
        store, rollups=True, since_us=START_US, until_us=START_US + DAY_US,
        step_s=3600, group_by=["name", "uid"], measures=["count", "errors"],
    )  # fmt: skip
    counts: Counter[Any] = Counter()
    errors: Counter[Any] = Counter()
    for event in events:
        if event.time_us < START_US + DAY_US:
            key = (event.time_us // 3_600_000_000 * 3_600_000_000, event.name, event.uid)
            counts[key] += 1
            errors[key] += event.outcome == "error"
    assert found.source == "hours"
    assert {tuple(row[:3]): row[3] for row in found.rows} == counts
    assert {tuple(row[:3]): row[4] for row in found.rows if row[4]} == +errors


def test_groups_beyond_the_most_go_to_one_and_questions_of_them_to_events(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "MAX_GROUPS", 20)
    base = Event(id="", kind="request", name="", time_us=START_US)
    for batch in range(3):
        put(
            store,
            [
                msgspec.structs.replace(base, id=f"{batch}-{n}", name=f"n{n}", uid=n)
                for n in range(batch * 10, batch * 10 + 150)
            ],
        )
    span = {"since_us": START_US - 3_600_000_000, "until_us": START_US + 7_200_000_000}

    named = ask(store, rollups=True, **span, group_by=["name"], measures=["count"])
    kinds = ask(store, rollups=True, **span, group_by=["kind"], measures=["count"])
    assert (named.source, len(named.rows)) == ("events", 170)
    assert (kinds.source, kinds.rows) == ("minutes", [["request", 450]])
    with store.reading() as cursor:
        for table, most in (("minutes", 20), ("hours", 100)):
            found = cursor.execute(f"SELECT DISTINCT name FROM {table}").fetchall()
            assert len(found) == most + 1
            assert ("(other)",) in found


def test_the_store_says_when_a_minute_of_today_has_too_many_groups(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "MAX_GROUPS", 5)
    put(store, [new_event("user", f"n{n}") for n in range(5)])
    assert not store.overflowing()

    put(store, [new_event("user", f"m{n}") for n in range(30)])
    assert store.overflowing()


def test_compaction_saves_rows_and_changes_no_answer(store: Store) -> None:
    chance = random.Random(3)
    for batch in range(201):
        event = some_events(chance, 1, f"b{batch}")[0]
        put(store, [msgspec.structs.replace(event, time_us=START_US + batch)])
    span = {"since_us": START_US // 60_000_000 * 60_000_000, "until_us": START_US + 120_000_000}
    before = ask(store, rollups=True, **span, group_by=["name"]).rows

    saved = store.compact()
    assert saved > 100
    assert store.compact() == 0
    assert ask(store, rollups=True, **span, group_by=["name"]).rows == before


def test_retention_leaves_exact_rollups(store: Store) -> None:
    put(store, some_events(random.Random(5), 2000, "e"))
    cutoff = START_US + DAY_US // 2 + 12_345

    dropped = store.drop_before(cutoff)
    span = {"since_us": START_US - DAY_US, "until_us": START_US + 2 * DAY_US}
    rolled, exact = (ask(store, rollups=r, **span, step_s=3600) for r in (True, False))
    assert dropped > 200
    assert rolled.source == "hours"
    assert [row[:3] for row in rolled.rows] == [row[:3] for row in exact.rows]
    assert sum(row[1] for row in rolled.rows) == 2000 - dropped


def test_numbers_go_on_growing_where_retention_left_nothing(store: Store) -> None:
    put(store, some_events(random.Random(5), 10, "old"))
    store.drop_before(2**53)
    store.close()
    put(store, some_events(random.Random(6), 10, "new"))

    span = {"since_us": START_US - DAY_US, "until_us": START_US + 2 * DAY_US}
    assert ask(store, rollups=True, **span, measures=["count"]).rows == [[10]]
