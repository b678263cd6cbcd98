from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl_daemon.analytics.frame import MAX_ATTRIBUTES_BYTES, decode_rows, encode_frame
from stackctl_daemon.analytics.otlp import record
from stackctl_daemon.analytics.otlp.messages import AnyValue, ArrayValue, KeyValue, KeyValueList
from stackctl_daemon.analytics.otlp.record import FUTURE_US, Batch, bounded, plain

NOW_US = 1_790_000_000_000_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3000),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=400), JSON, max_size=40))
def test_attributes_always_fit_the_store(sent: dict[str, Any]) -> None:
    own = {"trace_id": "a" * 32, "body": "b" * 100}
    found, size, cut = bounded(own, sent)

    raw = msgspec.json.encode(found)
    assert len(raw) == size <= MAX_ATTRIBUTES_BYTES
    assert found["trace_id"] == "a" * 32
    assert cut == bool("truncated_bytes" in found and "truncated_bytes" not in sent)
    if not cut:
        assert found == own | {(f"sent.{k}" if k in own else k): v for k, v in sent.items()}


def test_what_is_cut_says_so_and_is_counted() -> None:
    batch = Batch(NOW_US)
    sent = {"short": "kept", "long": "é" * 20_000, "list": list(range(5000))}

    found = batch.record({}, sent, id="x", kind="span", name="n", time_us=1).event.attributes

    assert batch.truncated == 1
    assert found["truncated"] is True
    assert found["truncated_bytes"] > 60_000
    assert found["short"] == "kept"
    assert found["long"] == "é" * len(found["long"])
    assert len(found["long"]) == 1024


def test_an_attribute_never_hides_one_of_ours() -> None:
    found, _, _ = bounded({"service": "shop"}, {"service": "theirs"})

    assert found == {"service": "shop", "sent.service": "theirs"}


@pytest.mark.parametrize(
    ("nanoseconds", "expected", "kept"),
    [
        (0, NOW_US, None),
        (-5, NOW_US, None),
        (1_999, 1, None),
        ((NOW_US + FUTURE_US) * 1000, NOW_US + FUTURE_US, None),
        ((NOW_US + FUTURE_US + 1) * 1000, NOW_US, NOW_US + FUTURE_US + 1),
        (2**64 - 1, NOW_US, 2**53),
    ],
)
def test_a_clock_far_ahead_is_set_right_and_told(
    nanoseconds: int, expected: int, kept: int | None
) -> None:
    attributes: dict[str, Any] = {}

    assert Batch(NOW_US).time(nanoseconds, attributes) == expected
    assert attributes.get("sent_time_us") == kept


def test_ids_come_again_with_the_same_batch_and_tell_twins_apart() -> None:
    first, second = Batch(NOW_US), Batch(NOW_US + 9)

    ids = [first.id("a", 1), first.id("a", 1), first.id("a", 2)]

    assert len(set(ids)) == 3
    assert ids == [second.id("a", 1), second.id("a", 1), second.id("a", 2)]


def test_every_type_of_value_becomes_json() -> None:
    nested = AnyValue(
        kvlist_value=KeyValueList(
            values=[
                KeyValue(key="b", value=AnyValue(bytes_value=b"\x00\xff")),
                KeyValue(key="n", value=AnyValue(double_value=float("nan"))),
                KeyValue(key="i", value=AnyValue(double_value=float("-inf"))),
                KeyValue(key="none", value=AnyValue()),
                KeyValue(
                    key="l", value=AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)]))
                ),
            ]
        )
    )

    assert plain(nested) == {"b": "AP8=", "n": "NaN", "i": "-Infinity", "none": None, "l": [1]}
    deep = AnyValue(string_value="bottom")
    for _ in range(50):
        deep = AnyValue(array_value=ArrayValue(values=[deep]))
    assert "nested too deeply" in msgspec.json.encode(plain(deep)).decode()


@given(st.none() | st.text(max_size=40) | st.binary(max_size=20))
def test_an_id_is_whole_or_none(raw: str | bytes | None) -> None:
    assert len(record.hexadecimal(raw, 8)) in (0, 16)


@given(st.integers() | st.floats() | st.booleans() | st.text() | st.none())
def test_a_count_is_one_that_the_store_takes(value: Any) -> None:
    batch = Batch(NOW_US)
    tokens = record.count(value)
    event = batch.record({}, {}, id="x", kind="span", name="n", time_us=1, tokens=tokens).event

    frame = encode_frame([event])
    assert decode_rows(frame, 0, len(frame))[0][8] == tokens
