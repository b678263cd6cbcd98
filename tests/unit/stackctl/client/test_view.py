from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.client.view import View, decode, encode, mapping

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_is_decoded_encodes_to_the_same(value: object) -> None:
    assert json.loads(encode(decode(json.dumps(value)))) == value


def test_fields_named_like_methods_are_fields() -> None:
    view = decode('{"items": [1], "get": 2, "keys": 3}')

    assert (view.items, view.get, view.keys) == ([1], 2, 3)
    assert dict(mapping(view)) == {"items": [1], "get": 2, "keys": 3}


def test_a_view_reads_as_a_mapping_too() -> None:
    view = decode('{"a": 1}')

    assert "a" in view
    assert list(view) == ["a"]
    assert len(view) == 1
    assert view == View({"a": 1})
    assert view != {"a": 1}
    assert repr(view) == "View({'a': 1})"


def test_a_missing_field_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = decode("{}").absent


def test_mapping_of_none_is_empty() -> None:
    assert mapping(None) == {}
    assert mapping({"a": 1}) == {"a": 1}
