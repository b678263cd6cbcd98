"""HTTP of the model area; refuses to decide anything."""

from __future__ import annotations

from stackctl.contracts.job import Job
from stackctl.contracts.model import (
    ExportedModel,
    ImportedModel,
    Model,
    ModelExport,
    ModelImport,
    ModelList,
    ModelVerification,
)
from stackctl.errors import Conflict, DiskFull, Invalid, ModelCorrupt, NotFound
from stackctl_daemon.http.registry import Reply, Request, Route
from stackctl_daemon.models.service import ModelService


def routes(service: ModelService) -> list[Route]:
    """Give the routes of the model area."""

    async def list_models(request: Request) -> Reply:
        return Reply(await service.list())

    async def show(request: Request) -> Reply:
        return Reply(await service.show(request.params["name"]))

    async def pull(request: Request) -> Reply:
        return Reply(await service.pull(request.params["name"]), status=202)

    async def verify(request: Request) -> Reply:
        return Reply(await service.verify(request.params["name"]))

    async def remove(request: Request) -> Reply:
        return Reply(await service.remove(request.params["name"]))

    async def take(request: Request) -> Reply:
        return Reply(await service.take(request.body), status=201)

    async def export(request: Request) -> Reply:
        return Reply(await service.export(request.params["name"], request.body), status=201)

    return [
        Route(
            "models.list", "GET", "/v1/models", "read", list_models,
            "List the models of the catalogue and what is on this disk.", reply=ModelList,
        ),
        Route(
            "models.show", "GET", "/v1/models/{name}", "read", show,
            "Give the model that a name, an alias or `default` means.",
            reply=Model, errors=(NotFound,),
        ),
        Route(
            "models.pull", "POST", "/v1/models/{name}/pull", "operate", pull,
            "Fetch a model.", reply=Job, status=202, errors=(NotFound,), durable=True,
        ),
        Route(
            "models.verify", "POST", "/v1/models/{name}/verify", "operate", verify,
            "Read every byte of a model.", reply=ModelVerification, errors=(NotFound,),
            timeout_s=600,
        ),
        Route(
            "models.remove", "DELETE", "/v1/models/{name}", "admin", remove,
            "Remove a model from devices and from this disk.",
            reply=Model, errors=(NotFound, Conflict), durable=True, timeout_s=120,
        ),
        Route(
            "models.import", "POST", "/v1/models/import", "admin", take,
            "Take a model from a directory or a tar.",
            body=ModelImport, reply=ImportedModel, status=201,
            errors=(Conflict, Invalid, DiskFull), durable=True, timeout_s=600,
            ends_with_peer=True,  # as after Ctrl-C: the copy ends, and leaves nothing
        ),
        Route(
            "models.export", "POST", "/v1/models/{name}/export", "admin", export,
            "Write a model to a folder or a tar that an import takes.",
            body=ModelExport, reply=ExportedModel, status=201,
            errors=(NotFound, Conflict, Invalid, DiskFull, ModelCorrupt), timeout_s=600,
            ends_with_peer=True,
        ),
    ]  # fmt: skip
