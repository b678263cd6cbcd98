"""Calls about models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from stackctl.client.transport import Transport
from stackctl.errors import Invalid

if TYPE_CHECKING:
    from stackctl.contracts.inference import (
        Alias,
        AliasList,
        Placement,
        RunningList,
        RunningModel,
        RunPart,
        RunReply,
        UnloadReply,
    )
    from stackctl.contracts.job import Job
    from stackctl.contracts.model import (
        ExportedModel,
        ImportedModel,
        Model,
        ModelList,
        ModelVerification,
    )


class ModelCalls:
    """List, pull, verify, remove, import, export; load, unload, place, alias, tune; run."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> ModelList:
        """The catalogue beside what is on this disk."""
        return cast("ModelList", self._transport.request("GET", "/v1/models"))

    def show(self, name: str) -> Model:
        """Give the model that a name, an alias or ``default`` means."""
        return cast("Model", self._transport.request("GET", _path(name)))

    def pull(self, name: str) -> Job:
        """Start to fetch a model; ``default`` names the configured one."""
        return cast("Job", self._transport.request("POST", _path(name, "pull")))

    def verify(self, name: str) -> ModelVerification:
        """Read every byte of a model and compare it with the catalogue."""
        reply = self._transport.request("POST", _path(name, "verify"), timeout_s=600.0)
        return cast("ModelVerification", reply)

    def remove(self, name: str) -> Model:
        """Delete the files of the model of this very name."""
        return cast("Model", self._transport.request("DELETE", _path(name), timeout_s=120.0))

    def export(self, name: str, path: str) -> ExportedModel:
        """Write a model to a folder or a tar of the daemon's machine."""
        reply = self._transport.request(
            "POST", _path(name, "export"), {"path": path}, timeout_s=600.0
        )
        return cast("ExportedModel", reply)

    def take(self, name: str, path: str, *, licence: str = "unknown") -> ImportedModel:
        """Import a model from a directory or a tar of the daemon's machine."""
        body = {"name": name, "path": path, "licence": licence}
        reply = self._transport.request("POST", "/v1/models/import", body, timeout_s=600.0)
        return cast("ImportedModel", reply)

    def load(
        self,
        name: str,
        *,
        device: str = "",
        pinned: bool | None = None,
        ttl_s: float | None = None,
        replicas: int | None = None,
        latency_target_ms: float | None = None,
        max_queued: int | None = None,
        timeout_s: float | None = None,
    ) -> RunningModel:
        """Load a model onto a device, the best one when none is named; None: as it is."""
        body = {"device": device, "pinned": pinned, "ttl_s": ttl_s}
        body |= {"replicas": replicas, "latency_target_ms": latency_target_ms}
        body |= {"max_queued": max_queued, "timeout_s": timeout_s}
        reply = self._transport.request("POST", _path(name, "load"), body, timeout_s=600.0)
        return cast("RunningModel", reply)

    def unload(self, name: str, *, device: str = "") -> UnloadReply:
        """Unload a model from a device, from all when none is named."""
        body = {"device": device}
        reply = self._transport.request("POST", _path(name, "unload"), body, timeout_s=120.0)
        return cast("UnloadReply", reply)

    def running(self) -> RunningList:
        """Models that devices hold."""
        return cast("RunningList", self._transport.request("GET", "/v1/models/running"))

    def why(self, name: str) -> Placement:
        """Where a model is or would go, and why."""
        return cast("Placement", self._transport.request("GET", _path(name, "why")))

    def tune(self, name: str) -> Job:
        """Start to find a model's batch budget."""
        return cast("Job", self._transport.request("POST", _path(name, "tune")))

    def aliases(self) -> AliasList:
        """Aliases by name."""
        return cast("AliasList", self._transport.request("GET", "/v1/models/aliases"))

    def switch(self, alias: str, model: str) -> Alias:
        """Let an alias mean a model from now on."""
        reply = self._transport.request(
            "POST", _path("aliases", alias), {"model": model}, timeout_s=600.0
        )
        return cast("Alias", reply)

    def drop_alias(self, alias: str) -> Alias:
        """Forget an alias."""
        reply = self._transport.request("DELETE", _path("aliases", alias))
        return cast("Alias", reply)

    def run(
        self,
        name: str,
        inputs: Sequence[Mapping[str, Any]],
        *,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 600.0,
    ) -> RunReply:
        """Run a model on inputs in the form of `RunInput`."""
        body = {"inputs": inputs, "options": options or {}, "timeout_s": timeout_s}
        # A moment more than the daemon's, whose words are the better ones.
        path, wait_s = _path(name, "run"), timeout_s + 5
        return cast("RunReply", self._transport.request("POST", path, body, timeout_s=wait_s))

    def graph_inputs(self, name: str) -> Sequence[Any]:
        """Tensors that a model reads, as the Open Inference Protocol names and types them."""
        reply = self._transport.request("GET", f"/v2/models/{quote(name, safe='')}")
        return cast("Sequence[Any]", cast("Any", reply).inputs)

    def stream(
        self,
        name: str,
        item: Mapping[str, Any],
        *,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 600.0,
    ) -> Iterator[RunPart]:
        """Run a model on one input, and give its answer in pieces, the reply last."""
        body = {
            "inputs": [item],
            "options": options or {},
            "timeout_s": timeout_s,
            "stream": True,
        }
        path, wait_s = _path(name, "run"), timeout_s + 5
        found = self._transport.stream("POST", path, body, timeout_s=wait_s)
        return cast("Iterator[RunPart]", found)


def _path(*parts: str) -> str:
    """Give the path of a model, or of what one does to it.

    Raises:
        Invalid: a name is empty, and the path would be another's.
    """
    if not all(parts):
        raise Invalid('"" is not the name of a model', hint="stackctl models list")
    return "/".join(("/v1/models", *(quote(part, safe="") for part in parts)))
