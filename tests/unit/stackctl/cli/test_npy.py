from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stackctl.cli import npy
from stackctl.errors import Invalid

TYPES = ["<f2", "<f4", "<f8", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1"]


@given(st.sampled_from(TYPES).flatmap(lambda t: hnp.arrays(t, hnp.array_shapes(min_dims=0))))
def test_numpy_reads_what_is_written_and_the_other_way_round(array: Any) -> None:
    kept = npy.Array(array.dtype.str, list(array.shape), array.tobytes())
    file = io.BytesIO()
    np.save(file, array)

    ours = np.load(io.BytesIO(npy.write(kept)))
    theirs = npy.read(file.getvalue(), "it")

    assert ours.dtype == array.dtype
    assert ours.tobytes() == array.tobytes()
    assert theirs.dtype == kept.dtype
    assert theirs.shape == kept.shape or array.ndim == 0
    assert theirs.data == kept.data


def test_what_is_no_array_is_refused() -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((2, 2), ">f4"))
    with pytest.raises(Invalid, match="little-endian"):
        npy.read(file.getvalue(), "it")
    file = io.BytesIO()
    np.save(file, np.asfortranarray(np.zeros((2, 3))))
    with pytest.raises(Invalid, match="Fortran order"):
        npy.read(file.getvalue(), "it")
    with pytest.raises(Invalid, match=r"no \.npy file"):
        npy.read(b"PK\x03\x04 and so on", "it")
    with pytest.raises(Invalid, match="expected 4"):
        npy.read(npy.write(npy.Array("<f4", [1], b"123")), "it")
    with pytest.raises(Invalid, match="head"):
        npy.read(b"\x93NUMPY\x01\x00\x04\x00{1:\n", "it")


def test_typed_numbers_become_an_array() -> None:
    assert npy.literal([[1, 2], [3, 4]]) == npy.Array("<i8", [2, 2], np.arange(1, 5).tobytes())
    assert npy.literal(1.5).dtype == "<f4"
    assert npy.numbers(npy.literal([[1.5], [2]])) == [1.5, 2.0]
    assert npy.literal([1, 0], "|b1").data == b"\x01\x00"


@pytest.mark.parametrize(
    ("value", "dtype", "problem"),
    [
        ([[1], [1, 2]], "", "differ in length"),
        ([[1], 2], "", "differ in length"),
        (["a"], "", "no number"),
        ([1], "float32", "is none of"),
        ([300], "|u1", "ubyte"),
    ],
)
def test_what_is_no_tensor_says_why(value: Any, dtype: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        npy.literal(value, dtype)
