"""Routes of the Open Inference Protocol v2: health, metadata, inference, repository, statistics.

Sources: KServe's rest_predict_v2; Triton's extensions for the model repository and statistics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from stackctl import __version__
from stackctl.contracts.inference import LoadRequest
from stackctl.contracts.model import ModelEntry
from stackctl.errors import Invalid, NotFound, StackctlError
from stackctl_daemon.http.registry import Method, Permission, Reply, Request, Route
from stackctl_daemon.inference.apis import oip, oip_models, onnx_signature
from stackctl_daemon.inference.apis.account import Count, Statistics
from stackctl_daemon.inference.apis.openai import BOTH, RAISED
from stackctl_daemon.inference.ask import Ask
from stackctl_daemon.inference.service import InferenceService

VERSION = "1"
"""Of a model whose name tells none."""
MIN_DIGEST = 8
"""Digits of the digest of a model's files and options that stand for a version too."""
_MODEL = "/v2/models/{model}"
_VERSIONED = "/v2/models/{model}/versions/{version}"


class ServerMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers."""

    name: str
    version: str
    extensions: list[str]


class Live(msgspec.Struct, frozen=True):
    """The server runs."""

    live: bool


class Ready(msgspec.Struct, frozen=True):
    """The server takes requests."""

    ready: bool


class ModelReady(msgspec.Struct, frozen=True):
    """The model takes requests; it is loaded by the first of them."""

    name: str
    ready: bool


class IndexRequest(msgspec.Struct, frozen=True):
    """What of the repository is asked for."""

    ready: bool = False
    """Only what is loaded."""


class IndexItem(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class Duration(msgspec.Struct, frozen=True):
    """How often, and how long in all."""

    count: int
    ns: int


class InferStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of requests went."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a model through these protocols, since the daemon started."""

    name: str
    version: str
    last_inference: int
    """Unix time in ms."""
    inference_count: int
    execution_count: int
    inference_stats: InferStatistics
    batch_stats: list[Any]


class StatisticsReply(msgspec.Struct, frozen=True):
    """Statistics by model."""

    model_stats: list[ModelStatistics]


def routes(service: InferenceService, models: Any, statistics: Statistics) -> list[Route]:
    """Give the routes; ``models`` is a `ports.Models`."""
    site = _Site(service, models, statistics)

    def route(
        name: str,
        method: Method,
        path: str,
        handler: Callable[[Request], Awaitable[Reply]],
        summary: str,
        *,
        permission: Permission = "read",
        **more: Any,
    ) -> Route:
        return Route(
            name=f"oip.{name}",
            method=method,
            path=path,
            permission=permission,
            handler=handler,
            summary=f"{summary} (Open Inference Protocol).",
            errors=RAISED,
            errors_as=oip.ERRORS,
            listeners=BOTH,
            **more,
        )

    found = [
        route("server", "GET", "/v2", site.server, "Say who answers", reply=ServerMetadata),
        route("live", "GET", "/v2/health/live", site.live, "Say that it runs", reply=Live),
        route("ready", "GET", "/v2/health/ready", site.ready, "Say that it is ready", reply=Ready),
        route("index", "POST", "/v2/repository/index", site.index, "List the models",
              raw="application/json", reply=list[IndexItem]),
        route("load", "POST", "/v2/repository/models/{model}/load", site.load, "Load a model",
              permission="operate", raw="application/json", reply=dict[str, str], timeout_s=600),
        route("unload", "POST", "/v2/repository/models/{model}/unload", site.unload,
              "Unload a model", permission="operate", raw="application/json",
              reply=dict[str, str], timeout_s=600),
        route("stats.all", "GET", "/v2/models/stats", site.all_stats, "Give all statistics",
              reply=StatisticsReply),
    ]  # fmt: skip
    for base, suffix in ((_MODEL, ""), (_VERSIONED, ".version")):
        found += [
            route(f"model{suffix}", "GET", base, site.model, "Describe a model",
                  reply=oip_models.ModelMetadata),
            route(f"model.ready{suffix}", "GET", f"{base}/ready", site.model_ready,
                  "Say whether a model is ready", reply=ModelReady),
            route(f"infer{suffix}", "POST", f"{base}/infer", site.infer, "Run a model",
                  permission="operate", raw="application/json", reply=oip.InferReply,
                  also_replies=(oip.BINARY,), max_body_bytes=96 << 20,
                  runs_model=True, ends_with_peer=True, timeout_s=600),
            route(f"stats{suffix}", "GET", f"{base}/stats", site.stats, "Give statistics",
                  reply=StatisticsReply),
        ]  # fmt: skip
    return found


class _Site:
    """The handlers."""

    def __init__(self, service: InferenceService, models: Any, statistics: Statistics) -> None:
        self._service = service
        self._models = models
        self._statistics = statistics

    async def server(self, request: Request) -> Reply:
        extensions = ["binary_tensor_data", "model_repository", "statistics"]
        return Reply(ServerMetadata(name="stackctl", version=__version__, extensions=extensions))

    async def live(self, request: Request) -> Reply:
        return Reply(Live(True))

    async def ready(self, request: Request) -> Reply:
        return Reply(Ready(True))

    async def model(self, request: Request) -> Reply:
        entry = await self._entry(request)
        signature = None
        if entry.task == "tensor":
            graph = (await self._models.ready(entry.name)).graph
            if graph is not None:
                signature = await asyncio.to_thread(onnx_signature.read, graph)
        return Reply(oip_models.metadata(entry, await self._versions(entry), signature))

    async def model_ready(self, request: Request) -> Reply:
        entry = await self._entry(request)
        return Reply(ModelReady(entry.family, True))

    async def infer(self, request: Request) -> Reply:
        entry = await self._entry(request)
        try:
            return await self._infer(request, entry)
        except StackctlError:
            self._statistics.fail(entry.name)
            raise

    async def _infer(self, request: Request, entry: ModelEntry) -> Reply:
        asked = oip.read(request.body, request.headers.get(oip.HEADER_LENGTH))
        inputs, options = oip_models.inputs_of(entry, asked.tensors)
        given = {k: v for k, v in asked.request.parameters.items() if k not in _PROTOCOLS_OWN}
        if entry.task == "tensor" and asked.request.outputs:
            options["outputs"] = [output.name for output in asked.request.outputs]
        ask = Ask(options=given | options, user=request.uid)
        done = await self._service.run(inputs, model=entry.name, ask=ask)
        outputs = oip_models.outputs_of(entry, done.results)
        written = oip.write(asked.request, outputs, model=entry.family, version=_version(entry))
        self._statistics.add(done, len(inputs))
        if not written.header_length:
            return Reply(written.payload, spent=done.spent())
        told = [("Inference-Header-Content-Length", str(written.header_length))]
        return Reply(written.payload, content_type=oip.BINARY, headers=told, spent=done.spent())

    async def index(self, request: Request) -> Reply:
        asked = _options(request.body, IndexRequest)
        items = []
        for model in (await self._models.list()).items:
            loaded = bool(self._service.loaded_on(model.name))
            if asked.ready and not loaded:
                continue
            reason = (
                "not loaded yet" if model.state == "present" else f"its files are {model.state}"
            )
            family, _, version = model.name.partition(":")
            items.append(
                IndexItem(
                    name=family,
                    version=version or VERSION,
                    state="READY" if loaded else "UNAVAILABLE",
                    reason="" if loaded else reason,
                )
            )
        return Reply(items)

    async def load(self, request: Request) -> Reply:
        entry = await self._entry(request)
        _options(request.body, dict[str, Any])
        await self._service.control.load(entry.name, LoadRequest())
        return Reply({})

    async def unload(self, request: Request) -> Reply:
        entry = await self._entry(request)
        _options(request.body, dict[str, Any])
        if self._service.loaded_on(entry.name):
            await self._service.control.unload(entry.name, "")
        return Reply({})

    async def all_stats(self, request: Request) -> Reply:
        counts = self._statistics.models
        return Reply(StatisticsReply([_told(name, count) for name, count in counts.items()]))

    async def stats(self, request: Request) -> Reply:
        name = (await self._entry(request)).name
        return Reply(StatisticsReply([_told(name, self._statistics.models.get(name, Count()))]))

    async def _entry(self, request: Request) -> ModelEntry:
        name = request.params["model"]
        entry = await self._service.entry(name)
        version = request.params.get("version", "")
        if not version or version == _version(entry):
            return entry
        digest = (await self._service.load_of(entry.name)).key.rpartition("@")[2]
        if len(version) >= MIN_DIGEST and digest.startswith(version):
            return entry
        if name not in (entry.family, *entry.aliases):  # these alone are of all versions
            raise NotFound(
                f'model "{name[:80]}" is version {_version(entry)}, not {version[:40]}:'
                f' expected the name that versions share, "{entry.family}"'
            )
        try:
            return await self._service.entry(f"{entry.family}:{version}")
        except NotFound as err:
            known = ", ".join(await self._versions(entry))
            raise NotFound(
                f'model "{entry.family}" has no version {version[:40]}, only {known}'
            ) from err

    async def _versions(self, entry: ModelEntry) -> list[str]:
        """Give the versions whose files are here; the one that is asked for by default last."""
        found = [
            model.name.partition(":")[2] or VERSION
            for model in (await self._models.list()).items
            if model.name.partition(":")[0] == entry.family and model.state != "absent"
        ]
        own = _version(entry)
        return [version for version in dict.fromkeys(found) if version != own] + [own]


_PROTOCOLS_OWN = frozenset({
    "binary_data_output", "sequence_id", "sequence_start", "sequence_end", "priority", "timeout",
})  # fmt: skip


def _version(entry: ModelEntry) -> str:
    return entry.version or VERSION


def _options(body: bytes, kind: Any) -> Any:
    """Decode a body that may be empty."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise Invalid(f"body: {err}") from err


def _told(name: str, count: Count) -> ModelStatistics:
    def duration(seconds: float) -> Duration:
        return Duration(count.requests, int(seconds * 1e9))

    busy_s = count.batch_s + count.compute_s
    family, _, version = name.partition(":")
    return ModelStatistics(
        name=family,
        version=version or VERSION,
        last_inference=int(count.last_at_s * 1000),
        inference_count=count.inputs,
        execution_count=count.requests,
        inference_stats=InferStatistics(
            success=duration(count.queue_s + busy_s),
            fail=Duration(count.failed, 0),
            queue=duration(count.queue_s),
            compute_input=duration(0.0),
            compute_infer=duration(busy_s),
            compute_output=duration(0.0),
        ),
        batch_stats=[],
    )
