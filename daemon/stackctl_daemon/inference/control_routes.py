"""HTTP of what one may do to models on devices; refuses to decide anything."""

from __future__ import annotations

from stackctl.contracts.inference import (
    Alias,
    AliasList,
    AliasRequest,
    LoadRequest,
    Placement,
    RunningList,
    RunningModel,
    UnloadReply,
    UnloadRequest,
)
from stackctl.contracts.job import Job
from stackctl.errors import Conflict, Failed, ModelCorrupt, NotFound
from stackctl_daemon.http.registry import Reply, Request, Route
from stackctl_daemon.inference.control import ModelControl

_ERRORS = (NotFound, Conflict, ModelCorrupt, Failed)


def routes(control: ModelControl) -> list[Route]:
    """Give the routes."""

    async def load(request: Request) -> Reply:
        return Reply(await control.load(request.params["name"], request.body))

    async def unload(request: Request) -> Reply:
        return Reply(await control.unload(request.params["name"], request.body.device))

    async def running(request: Request) -> Reply:
        return Reply(await control.survey())

    async def why(request: Request) -> Reply:
        return Reply(await control.why(request.params["name"]))

    async def aliases(request: Request) -> Reply:
        return Reply(control.list_aliases())

    async def switch(request: Request) -> Reply:
        return Reply(await control.switch(request.params["alias"], request.body.model))

    async def drop(request: Request) -> Reply:
        return Reply(await control.drop(request.params["alias"]))

    async def tune(request: Request) -> Reply:
        return Reply(await control.tune(request.params["name"]), status=202)

    return [
        Route(
            "models.running", "GET", "/v1/models/running", "read", running,
            "List the models that devices hold, and what their workers take.", reply=RunningList,
        ),
        Route(
            "models.aliases", "GET", "/v1/models/aliases", "read", aliases,
            "List the aliases of models.", reply=AliasList,
        ),
        Route(
            "models.switch", "POST", "/v1/models/aliases/{alias}", "operate", switch,
            "Let an alias mean a model from now on, without a request that fails for it.",
            body=AliasRequest, reply=Alias, errors=_ERRORS, durable=True, timeout_s=600,
        ),
        Route(
            "models.drop-alias", "DELETE", "/v1/models/aliases/{alias}", "operate", drop,
            "Forget an alias.", reply=Alias, errors=(NotFound,), durable=True,
        ),
        Route(
            "models.load", "POST", "/v1/models/{name}/load", "operate", load,
            "Load a model onto a device, making room where needed.",
            body=LoadRequest, reply=RunningModel, errors=_ERRORS, timeout_s=600,
        ),
        Route(
            "models.unload", "POST", "/v1/models/{name}/unload", "operate", unload,
            "Unload a model once the requests that use it have ended.",
            body=UnloadRequest, reply=UnloadReply, errors=_ERRORS, timeout_s=120,
        ),
        Route(
            "models.why", "GET", "/v1/models/{name}/why", "read", why,
            "Say where a model is or would go, and why.", reply=Placement, errors=_ERRORS,
        ),
        Route(
            "models.tune", "POST", "/v1/models/{name}/tune", "operate", tune,
            "Find the batch budget from which on a device gains nothing.",
            reply=Job, status=202, errors=_ERRORS, durable=True,
        ),
    ]  # fmt: skip
