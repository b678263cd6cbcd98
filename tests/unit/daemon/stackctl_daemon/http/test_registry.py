"""Which route a path is for."""

from __future__ import annotations

import pytest

from stackctl_daemon.http.registry import Method, Registry, Reply, Request, Route


async def answer(request: Request) -> Reply:
    return Reply()


def route(method: Method, path: str) -> Route:
    return Route(f"{method} {path}", method, path, "read", answer, "")


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/things/aliases/run", "POST /things/aliases/{alias}"),
        ("POST", "/things/other/run", "POST /things/{name}/run"),
        ("GET", "/things/running", "GET /things/running"),
        ("HEAD", "/things/running", "GET /things/running"),
        ("HEAD", "/things/other", "GET /things/{name}"),
    ],
)
def test_a_path_that_is_spelled_out_goes_before_a_parameter(
    method: str, path: str, name: str
) -> None:
    registry = Registry()
    registry.add(
        route("GET", "/things/{name}"),
        route("POST", "/things/{name}/run"),
        route("GET", "/things/running"),
        route("POST", "/things/aliases/{alias}"),
    )

    found = registry.match(method, path)

    assert isinstance(found, tuple)
    assert found[0].name == name
