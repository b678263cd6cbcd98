from __future__ import annotations

import calendar
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.cli.text import clean, cut, display_width, duration, local_time, size


@given(st.text())
def test_clean_text_cannot_steer_a_terminal(text: str) -> None:
    shown = clean(text)

    assert len(shown) == len(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)


@given(st.text(), st.integers(0, 40))
def test_cut_text_fits(text: str, width: int) -> None:
    assert display_width(cut(text, width)) <= width


def test_wide_and_combining_characters_count_as_terminals_draw_them() -> None:
    assert display_width("日本") == 4
    assert display_width("e\u0301") == 1
    assert cut("日本語", 5) == "日本…"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 s"),
        (0.0123, "12.3 ms"),
        (3.456, "3.46 s"),
        (125, "2 min 5 s"),
        (7200, "2 h"),
        (3 * 86400, "3 d 0 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@given(st.integers(0, 2**33))
def test_times_are_the_readers(seconds: int) -> None:
    utc = time.gmtime(seconds)
    assert calendar.timegm(utc) == seconds

    shown = local_time(time.strftime("%Y-%m-%dT%H:%M:%SZ", utc))

    assert shown == time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def test_what_is_no_time_stays() -> None:
    assert local_time(None) == "-"
    assert local_time("soon") == "soon"
