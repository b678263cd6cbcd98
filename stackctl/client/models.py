"""Calls about models."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from stackctl.client.transport import Transport

if TYPE_CHECKING:
    from stackctl.contracts.job import Job
    from stackctl.contracts.model import Model, ModelList, ModelVerification


class ModelCalls:
    """List, pull, verify, remove, import."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> ModelList:
        """The catalogue beside what is on this disk."""
        return cast("ModelList", self._transport.request("GET", "/v1/models"))

    def pull(self, name: str) -> Job:
        """Start to fetch a model; ``default`` names the configured one."""
        path = f"/v1/models/{quote(name, safe='')}/pull"
        return cast("Job", self._transport.request("POST", path))

    def verify(self, name: str) -> ModelVerification:
        """Read every byte of a model and compare it with the catalogue."""
        path = f"/v1/models/{quote(name, safe='')}/verify"
        return cast("ModelVerification", self._transport.request("POST", path, timeout_s=600.0))

    def remove(self, name: str) -> None:
        """Delete a model's files."""
        self._transport.request("DELETE", f"/v1/models/{quote(name, safe='')}")

    def take(self, name: str, path: str, *, licence: str = "unknown") -> Model:
        """Import a model from a directory of the daemon's machine."""
        body = {"name": name, "path": path, "licence": licence}
        return cast(
            "Model", self._transport.request("POST", "/v1/models/import", body, timeout_s=600.0)
        )
