from __future__ import annotations

import tomllib
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from model_source import entry

from stackctl.contracts.model import ModelEntry
from stackctl_daemon.models.catalogue import read_entry, to_toml

# Characters that TOML can hold: all but lone surrogates. NaN is left out: it equals nothing.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS: st.SearchStrategy[Any] = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | TEXT
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.just(UTC))
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT, v, max_size=4)
)


def test_entries_survive_toml(tmp_path: Path) -> None:
    odd = msgspec.structs.replace(entry("file:/a b/NAME"), summary='q"\\ \n\t\x7f é 𝄞')
    file = tmp_path / "x.toml"
    file.write_text(to_toml(odd), encoding="utf-8")

    assert read_entry(file) == odd


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_any_options_survive_toml(options: dict[str, Any]) -> None:
    odd = msgspec.structs.replace(entry("file:/x"), options=options)

    found = msgspec.convert(tomllib.loads(to_toml(odd)), ModelEntry)

    assert found == odd
    assert list(found.options) == list(options)


def test_options_are_written_as_people_would() -> None:
    options = {"labels": ["a", "b"], "size": {"width": 224, "a page": True}, "scale": 1e-7}
    text = to_toml(msgspec.structs.replace(entry("file:/x"), options=options))

    assert (
        'options = {labels = ["a", "b"], size = {width = 224, "a page" = true}, scale = 1e-07}'
        in text
    )
