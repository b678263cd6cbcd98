"""The API does what its own OpenAPI description says, for input nobody thought of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from harness import Stack, bridge
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
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


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[str, Stack]]:
    # Offline: generated requests must not fetch models from the network.
    with (
        Stack(model=False, env={"STACKCTL_MODELS__OFFLINE": "true"}) as stack,
        bridge(stack.socket_path) as url,
    ):
        yield url, stack


@pytest.fixture(scope="module")
def described(live: tuple[str, Stack]) -> BaseSchema:
    url, stack = live
    document = stack.ok("GET", "/v1/openapi.json")
    loaded = schemathesis.openapi.from_dict(document)
    loaded.config.update(base_url=url)
    return loaded.exclude(path=ENDS_OR_RESETS)


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_documented(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS, timeout=30)


def test_daemon_is_still_ready_after_the_fuzzing(live: tuple[str, Stack]) -> None:
    _, stack = live

    assert stack.ok("GET", "/v1/version")["pid"] == stack.process.pid  # type: ignore[union-attr]
