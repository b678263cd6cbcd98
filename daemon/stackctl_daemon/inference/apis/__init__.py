"""Other people's protocols over the inference service; refuses to compute or to place anything.

OpenAI's, rerank as Cohere and Jina spell it, and the Open Inference Protocol. Each writes its
errors in its own shape.
"""

from __future__ import annotations

from stackctl.settings import ApiSettings
from stackctl_daemon.http.registry import ErrorShape, Route
from stackctl_daemon.inference.apis import oip, oip_routes, openai, proxy, rerank, speech
from stackctl_daemon.inference.apis.account import Statistics
from stackctl_daemon.inference.apis.completions import OwnModels
from stackctl_daemon.inference.apis.ports import Models
from stackctl_daemon.inference.service import InferenceService

_OWN: list[tuple[str, ErrorShape]] = [
    ("/v1/rerank", rerank.ERRORS),
    ("/v2/rerank", rerank.ERRORS),
    ("/rerank", rerank.ERRORS),
    ("/v2", oip.ERRORS),
]
CONTROL_SHAPES: list[tuple[str, ErrorShape]] = [
    *_OWN,
    ("/v1/embeddings", openai.ERRORS),
    ("/v1/audio/", openai.ERRORS),
    ("/v1/chat/", openai.ERRORS),
    ("/v1/completions", openai.ERRORS),
]
"""Error shapes by path prefix where these routes stand beside the control API."""
SHAPES: list[tuple[str, ErrorShape]] = [*_OWN, ("", openai.ERRORS)]
"""The same on a port of their own."""


class Protocols:
    """The routes of every protocol."""

    def __init__(self, settings: ApiSettings, service: InferenceService, models: Models) -> None:
        """Take what they are made of.

        Raises:
            BadConfig: an upstream of the settings is not ``MODEL=URL``.
        """
        self._service = service
        self._models = models
        self._upstreams = proxy.Upstreams(settings)
        self._statistics = Statistics()

    def routes(self) -> list[Route]:
        """Give the routes."""
        service, models, statistics = self._service, self._models, self._statistics
        return [
            *openai.routes(service, models, self._upstreams.names, statistics),
            *speech.routes(service, statistics),
            *proxy.routes(self._upstreams, OwnModels(service, statistics)),
            *rerank.routes(service, statistics),
            *oip_routes.routes(service, models, statistics),
        ]
