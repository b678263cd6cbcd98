from __future__ import annotations

import tomllib
from datetime import UTC
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_source import entry

from stackctl.contracts.model import ModelEntry
from stackctl.errors import Invalid, NotFound
from stackctl_daemon.models.catalogue import (
    check_name,
    read_entry,
    resolve,
    to_toml,
    version_order,
)

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


def named(*names: str, aliases: list[str] | None = None) -> dict[str, ModelEntry]:
    return {
        name: msgspec.structs.replace(entry("file:/x"), name=name, aliases=aliases or [])
        for name in names
    }


@pytest.mark.parametrize("name", ["m:1", "m:v2.0-rc1", "a.b_c-d:2026.11", "m"])
def test_a_name_may_tell_a_version(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["m:", ":1", "m:1:2", "m:../x", "m:V1", "m:" + "9" * 33, "m/1"])
def test_a_version_is_of_the_characters_of_a_name(name: str) -> None:
    with pytest.raises(Invalid):
        check_name(name)


def test_a_name_alone_is_the_latest_version_of_what_is_here() -> None:
    known = named("m:9", "m:10", "m:11", aliases=["em"])

    assert resolve(known, "m").name == "m:11"
    assert resolve(known, "m", here=lambda found: found.name != "m:11").name == "m:10"
    assert resolve(known, "em", here=lambda found: found.name == "m:9").name == "m:9"
    assert resolve(known, "m:9").name == "m:9"
    with pytest.raises(NotFound):
        resolve(known, "m:12")


def test_a_model_of_the_very_name_is_meant_before_any_version_of_it() -> None:
    assert resolve(named("m", "m:2"), "m").name == "m"


def test_versions_are_ordered_as_people_count() -> None:
    told = ["2", "rc10", "1.10", "rc", "1.2", "rc2", "1", "v10", "v9"]

    assert sorted(told, key=version_order) == [
        "rc", "rc2", "rc10", "v9", "v10", "1", "1.2", "1.10", "2"
    ]  # fmt: skip


def test_a_version_comes_after_what_leads_to_it() -> None:
    told = ["2-int8", "2", "2-rc.1", "2-rc10", "2-beta", "2-alpha2", "2.dev1", "2.1-rc1", "2.1"]

    assert sorted(told, key=version_order) == [
        "2.dev1", "2-alpha2", "2-beta", "2-rc.1", "2-rc10", "2", "2-int8", "2.1-rc1", "2.1"
    ]  # fmt: skip
    assert resolve(named("pr:2", "pr:2-rc1"), "pr").name == "pr:2"


@given(st.lists(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,31}", fullmatch=True), unique=True))
def test_no_two_versions_are_the_same_in_order(versions: list[str]) -> None:
    keys = sorted(map(version_order, versions))

    assert all(one < other for one, other in pairwise(keys))
