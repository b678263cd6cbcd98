"""Work that nobody waits for any more."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from harness import Stack, UnixConnection
from waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.model]


@pytest.fixture
def stack() -> Iterator[Stack]:
    with Stack(env={"STACKCTL_DEVICES__GPUS": '"off"'}) as running:
        yield running


def _queued(stack: Stack) -> int:
    _, reply = stack.request("GET", "/v1/devices")
    return sum(device["queued"] for device in reply["items"])


def test_texts_of_a_caller_that_left_are_not_computed(stack: Stack) -> None:
    stack.request("POST", "/v1/embed", {"texts": ["warm"]})
    # Minutes of work on one core.
    texts = ["river copper lantern orchard " * 60] * 2048
    caller = UnixConnection(stack.socket_path, 60)
    caller.request("POST", "/v1/embed", json.dumps({"texts": texts}))
    until(lambda: _queued(stack) > 0, told=lambda: "nothing is queued")

    caller.close()

    until(lambda: _queued(stack) == 0, told=lambda: f"{_queued(stack)} still queued")
