"""The API does what its own OpenAPI description says, for input nobody thought of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from harness import Stack, bridge
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
ENDS_OR_RESETS = ["/v1/shutdown", "/v1/repair"]
"""Left out: one ends the daemon under test, the other sets its stores aside."""


@schemathesis.serializer("application/x-protobuf")
def _protobuf(context: Any, value: Any) -> bytes:
    """Send whatever was made up as it is: none of it needs to be a message."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[str, Stack]]:
    # Offline: generated requests must not fetch models from the network.
    with (
        Stack(model=False, env={"STACKCTL_MODELS__OFFLINE": "true"}) as stack,
        bridge(stack.socket_path) as url,
    ):
        yield url, stack


# The checked-in copy names the operations at collection; a test below compares it with the
# daemon's own.
DESCRIPTION = Path(__file__).resolve().parents[2] / "daemon" / "openapi.json"
schema = schemathesis.openapi.from_path(DESCRIPTION).exclude(path=ENDS_OR_RESETS)


@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_documented(case: schemathesis.Case[Any], live: tuple[str, Stack]) -> None:
    case.call_and_validate(base_url=live[0], checks=CHECKS, timeout=30)


def test_description_is_the_one_that_is_served(live: tuple[str, Stack]) -> None:
    assert live[1].ok("GET", "/v1/openapi.json") == json.loads(DESCRIPTION.read_text())


def test_daemon_is_still_ready_after_the_fuzzing(live: tuple[str, Stack]) -> None:
    _, stack = live

    assert stack.ok("GET", "/v1/version")["pid"] == stack.process.pid  # type: ignore[union-attr]
