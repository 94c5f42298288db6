"""Volumes."""

from sampan.api.request import Request
from sampan.api.response import Response, json
from sampan.api.router import Routes
from sampan.api.services import Services
from sampan.wire.volumes import CreateVolume, PrunedVolumes, VolumeList

routes = Routes()


@routes.get("/volumes")
def list_volumes(request: Request, services: Services) -> Response:
    return json(VolumeList(services.volumes.list_volumes(request.filters())))


@routes.post("/volumes/create")
async def create(request: Request, services: Services) -> Response:
    body = await request.document(CreateVolume)
    made = await services.volumes.create(
        body.name, driver=body.driver, options=body.driver_opts, labels=body.labels
    )
    return json(made, 201)


@routes.get("/volumes/{name}")
def inspect(request: Request, services: Services) -> Response:
    return json(services.volumes.find(request.path["name"]))


@routes.delete("/volumes/{name}")
async def remove(request: Request, services: Services) -> Response:
    await services.volumes.remove(request.path["name"], force=request.query.flag("force"))
    return Response(204)


@routes.post("/volumes/prune")
async def prune(request: Request, services: Services) -> Response:
    filters = request.filters()
    if request.version < (1, 42):
        filters.setdefault("all", ["true"])  # named volumes were pruned too
    removed, freed = await services.volumes.prune(filters)
    return json(PrunedVolumes(removed or None, freed))
