from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from stackctl_daemon.exposition import Family, render

# The parser splits lines at more characters than the format does.
TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
)


@given(TEXT, TEXT, st.floats(width=64))
def test_the_parser_reads_what_was_written(label: str, told: str, value: float) -> None:
    family = Family("a_gauge", "gauge", f"x{told}x")
    family.add(value, label=label)

    [found] = text_string_to_metric_families(render([family]).decode())

    [sample] = found.samples
    assert sample.labels == {"label": label}
    assert sample.value == value or (math.isnan(sample.value) and math.isnan(value))
    assert found.documentation == f"x{told}x"


def test_a_histogram_is_cumulative_and_ends_with_its_count() -> None:
    family = Family("h_seconds", "histogram", "H.")
    family.add_histogram([0.1, 1.0], [2, 0, 3], 7.5, name="n")

    assert render([family]).decode().splitlines() == [
        "# HELP h_seconds H.",
        "# TYPE h_seconds histogram",
        'h_seconds_bucket{name="n",le="0.1"} 2',
        'h_seconds_bucket{name="n",le="1.0"} 2',
        'h_seconds_bucket{name="n",le="+Inf"} 5',
        'h_seconds_sum{name="n"} 7.5',
        'h_seconds_count{name="n"} 5',
    ]


def test_a_family_without_samples_is_left_out() -> None:
    assert render([Family("a", "gauge", "A.")]) == b""


@pytest.mark.parametrize(("name", "kind"), [("1a", "gauge"), ("a-b", "gauge"), ("a", "counter")])
def test_a_wrong_name_is_refused(name: str, kind: str) -> None:
    with pytest.raises(ValueError, match="is no name of a"):
        Family(name, kind, "x")  # type: ignore[arg-type]
