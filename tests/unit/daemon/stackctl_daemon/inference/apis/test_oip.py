from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.apis import oip

KINDS = st.sampled_from(sorted(oip.DATATYPES))


def exchange(name: str, value: np.ndarray, *, binary: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """Write a tensor as an answer, send that back as a request, and read it."""
    asked = oip.InferRequest(inputs=[], parameters={"binary_data_output": binary})
    written = oip.write(asked, {name: value}, model="m", version="1")
    size = written.header_length or len(written.payload)
    head = json.loads(written.payload[:size])
    request = json.dumps({"inputs": head["outputs"]}).encode()
    body = request + written.payload[size:]
    return oip.read(body, str(len(request))).tensors[name], head


@given(st.data(), KINDS, st.booleans())
def test_a_tensor_comes_back_as_it_was(data: st.DataObject, kind: str, binary: bool) -> None:
    dtype = np.dtype(oip.DATATYPES[kind])
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=4, max_side=3))
    value = data.draw(arrays.arrays(dtype, shape, elements=_finite(dtype)))
    found, head = exchange("x", value, binary=binary)

    assert head["outputs"][0]["datatype"] == kind
    assert found.dtype == dtype
    assert np.array_equal(found, value)


def _finite(dtype: np.dtype[Any]) -> Any:
    if dtype.kind != "f":
        return None
    bits = {2: 16, 4: 32, 8: 64}[dtype.itemsize]
    return st.floats(allow_nan=False, allow_infinity=False, width=bits)  # type: ignore[arg-type]


def test_integers_on_both_sides_of_the_sign_bit_keep_their_last_digit() -> None:
    value = np.array([0, (1 << 63) + 1], np.uint64)

    assert exchange("x", value, binary=False)[0].tolist() == value.tolist()


@pytest.mark.parametrize("data", [[1, 1 << 64], [1, -1], [1, 0.5], [1, True, "a"], [[1], 1 << 63]])
def test_what_is_no_integer_of_64_bits_is_refused(data: list[Any]) -> None:
    tensor = {"name": "x", "shape": [len(data)], "datatype": "UINT64", "data": data}

    with pytest.raises(Invalid):
        oip.read(json.dumps({"inputs": [tensor]}).encode(), None)


@given(st.lists(st.text(max_size=5), min_size=1, max_size=5), st.booleans())
def test_strings_come_back_as_they_were(texts: list[str], binary: bool) -> None:
    value = np.empty(len(texts), object)
    value[:] = [text.encode() for text in texts]
    found, _ = exchange("x", value, binary=binary)

    assert found.tolist() == value.tolist()


def test_answers_hold_the_outputs_asked_for_in_their_order() -> None:
    outputs = {name: np.ones(1, np.float32) for name in "abc"}
    asked = oip.InferRequest(
        inputs=[],
        id="7",
        outputs=[
            oip.OutputRequest(name="c", parameters={"binary_data": True}),
            oip.OutputRequest(name="a"),
        ],
    )
    written = oip.write(asked, outputs, model="m", version="1")
    head = json.loads(written.payload[: written.header_length])

    assert head["id"] == "7"
    assert [output["name"] for output in head["outputs"]] == ["c", "a"]
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 4}
    assert written.payload[written.header_length :] == np.ones(1, "<f4").tobytes()


def test_what_json_cannot_say_is_not_written() -> None:
    nan = {"x": np.array([np.nan], np.float32)}

    with pytest.raises(Failed, match="ask for it as binary"):
        oip.write(oip.InferRequest(inputs=[]), nan, model="m", version="1")
    with pytest.raises(Failed, match="no datatype"):
        oip.write(oip.InferRequest(inputs=[]), {"x": np.ones(1, complex)}, model="m", version="1")


@pytest.mark.parametrize("length", ["-1", "x", "99999", "\u0663", "9" * 5000])
def test_a_header_length_beyond_the_body_is_refused(length: str) -> None:
    with pytest.raises(Invalid, match="Inference-Header-Content-Length"):
        oip.read(b"{}", length)


@pytest.mark.parametrize("raw", [b"\x05\0\0\0abc", b"\x01\0\0", b"\xff\xff\xff\xffa"])
def test_a_string_beyond_its_data_is_refused(raw: bytes) -> None:
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "t",
                    "shape": [1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(raw)},
                }
            ]
        }
    ).encode()

    with pytest.raises(Invalid, match="ends beyond"):
        oip.read(head + raw, str(len(head)))


@given(st.binary(), st.one_of(st.none(), st.integers(0, 50).map(str)))
def test_rubbish_is_refused_and_nothing_else(body: bytes, length: str | None) -> None:
    with pytest.raises(Invalid):
        oip.read(body, length)


def test_a_string_among_numbers_does_not_make_all_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = {"name": "x", "shape": [3], "datatype": "FP32", "data": [1, ["y" * 1000], 2]}
    # What numpy would make of them takes the longest string's bytes for each.
    monkeypatch.setattr(np, "asarray", lambda *_: pytest.fail("numpy was asked"))

    with pytest.raises(Invalid, match="holds a string"):
        oip.read(json.dumps({"inputs": [tensor]}).encode(), None)


@pytest.mark.parametrize("shape", [[0, 1 << 70], [1 << 62, 0]])
@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_a_side_that_no_array_has_is_refused(shape: list[int], datatype: str) -> None:
    tensor = {"name": "x", "shape": shape, "datatype": datatype, "data": []}

    with pytest.raises(Invalid, match="expected at most 2147483647"):
        oip.read(json.dumps({"inputs": [tensor]}).encode(), None)


def test_lists_deeper_than_a_tensor_are_no_strings() -> None:
    deep: Any = "y"
    for _ in range(200):
        deep = [deep]
    tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": [deep]}

    with pytest.raises(Invalid, match="other than strings"):
        oip.read(json.dumps({"inputs": [tensor]}).encode(), None)
