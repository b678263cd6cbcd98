from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.contracts.event import Event
from stackctl.errors import Invalid, TooLarge
from stackctl_daemon.analytics import frame

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
EVENTS = st.builds(
    Event,
    id=TEXT.filter(bool),
    kind=st.sampled_from(["request", "inference", "job", "user"]),
    name=TEXT.filter(bool),
    time_us=st.integers(0, 2**53),
    duration_s=st.floats(0, 1e12),
    uid=st.integers(-1, 2**63 - 1),
    model=TEXT,
    attributes=st.dictionaries(TEXT, JSON, max_size=3),
)


def event(**fields: Any) -> Event:
    values: dict[str, Any] = {"id": "a", "kind": "user", "name": "n", "time_us": 1}
    return Event(**(values | fields))


# No deadline: a busy machine is no finding.
@settings(deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=5))
def test_frame_gives_back_what_went_in(events: list[Event]) -> None:
    data = frame.encode_frame(events)

    rows = frame.decode_rows(data, 0, len(data))
    assert frame.frame_end(data, 0) == len(data)
    assert frame.frame_count(data, 0) == len(events)
    assert [row[:-1] for row in rows] == [
        [getattr(e, name) for name in frame.COLUMNS[:-1]] for e in events
    ]


# No deadline: a busy machine is no finding.
@settings(deadline=None)
@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    sound = frame.encode_frame([event(attributes={"k": "v" * 50})])
    at = data.draw(st.integers(0, len(sound) - 1))
    bit = data.draw(st.integers(0, 7))
    broken = bytearray(sound)
    broken[at] ^= 1 << bit

    assert frame.frame_end(bytes(broken), 0) is None


# No deadline: a busy machine is no finding.
@settings(deadline=None)
@given(st.integers(0, 200))
def test_any_cut_is_noticed(length: int) -> None:
    sound = frame.encode_frame([event(attributes={"k": "v" * 200})])

    assert frame.frame_end(sound[:length], 0) is None


def test_zeroes_are_no_frame() -> None:
    assert frame.frame_end(bytes(64), 0) is None


def test_frame_behind_damage_is_found_and_text_that_looks_like_one_is_not() -> None:
    first = frame.encode_frame([event(attributes={"k": "SCE1" * 100})])
    second = frame.encode_frame([event(id="b")])
    data = b"\xff" * 9 + first[9:] + second

    assert frame.next_frame(data, 0) == len(first)
    assert frame.next_frame(data[: len(first)], 0) is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"time_us": -1}, "time_us"),
        ({"time_us": 2**53 + 1}, "time_us"),
        ({"uid": 2**63}, "uid"),
        ({"uid": -2}, "uid"),
        ({"uid": 2**70}, "stored"),
        ({"id": ""}, ".id"),
        ({"id": "x" * 257}, ".id"),
        ({"name": ""}, ".name"),
        ({"kind": "other"}, "other"),
        ({"items": -1}, "items"),
        ({"duration_s": -0.1}, "duration_s"),
        ({"duration_s": float("nan")}, "duration_s"),
        ({"duration_s": float("inf")}, "duration_s"),
        ({"model": "\ud800"}, "stored"),
        ({"attributes": {"k": "v" * 8200}}, "attributes"),
        ({"attributes": {"k": object()}}, "attributes"),
        ({"attributes": {"k": "\ud800"}}, "attributes"),
    ],
)
def test_what_is_out_of_range_is_invalid_and_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        frame.encode_frame([event(), event(**fields)])


def test_attributes_that_hold_themselves_are_invalid() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle

    with pytest.raises(Invalid, match="attributes"):
        frame.encode_frame([event(attributes=circle)])


def test_attributes_of_exactly_eight_kib_pass() -> None:
    text = "v" * (frame.MAX_ATTRIBUTES_BYTES - len('{"k":""}'))

    assert frame.encode_frame([event(attributes={"k": text})])


def test_batch_above_the_cap_is_too_large() -> None:
    big = event(attributes={"k": "v" * 8000})

    with pytest.raises(TooLarge):
        frame.encode_frame([big] * 2200)
