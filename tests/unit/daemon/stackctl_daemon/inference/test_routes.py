"""What a request's JSON is read to, or refused for."""

from __future__ import annotations

import pytest

from stackctl.contracts.inference import TensorData
from stackctl.errors import Invalid
from stackctl_daemon.inference.routes import read_tensor


@pytest.mark.parametrize("shape", [[0, 2**70], [2**70, 0], [0] * 70, [0, 2**40, 2**40]])
def test_a_shape_that_no_array_has_is_refused(shape: list[int]) -> None:
    with pytest.raises(Invalid, match='tensor "x" of <f4'):
        read_tensor(TensorData(name="x", dtype="<f4", shape=shape, data=""))


def test_a_tensor_may_be_empty() -> None:
    assert read_tensor(TensorData(name="x", dtype="<f4", shape=[2, 0], data="")).shape == (2, 0)
