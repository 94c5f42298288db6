"""Volumes: Docker's calls, and under ``/sampan/volumes`` what goes beyond them."""

from sampan.api.request import Request
from sampan.api.response import Response, StreamResponse, json
from sampan.api.router import Routes
from sampan.api.services import Services
from sampan.wire.volumes import CopyVolume, CreateVolume, PrunedVolumes, VolumeList

routes = Routes()

_CONTENT_TYPES = {"none": "application/x-tar", "gzip": "application/gzip", "zstd": "application/zstd"}


@routes.get("/volumes")
async def list_volumes(request: Request, services: Services) -> Response:
    found, warnings = await services.volumes.list_all(request.filters())
    return json(VolumeList(found, warnings or None))


@routes.post("/volumes/create")
async def create(request: Request, services: Services) -> Response:
    body = await request.document(CreateVolume)
    made = await services.volumes.create(
        body.name, driver=body.driver, options=body.driver_opts, labels=body.labels
    )
    return json(made, 201)


@routes.get("/volumes/{name}")
async def inspect(request: Request, services: Services) -> Response:
    return json(await services.volumes.inspect(request.path["name"]))


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


@routes.get("/sampan/volumes/{name}/backup")
async def backup(request: Request, services: Services) -> StreamResponse:
    compression = request.query.text("compress", "none")
    pieces = await services.copies.backup(
        request.path["name"], compression=compression, pause=request.query.flag("pause")
    )
    return StreamResponse(pieces, _CONTENT_TYPES[compression])


@routes.post("/sampan/volumes/{name}/restore")
async def restore(request: Request, services: Services) -> Response:
    replace = request.query.flag("replace")
    return json(
        await services.copies.restore(request.path["name"], aiter(request.body), replace=replace), 201
    )


@routes.post("/sampan/volumes/{name}/clone")
async def clone(request: Request, services: Services) -> Response:
    body = await request.document(CopyVolume)
    made = await services.copies.clone(request.path["name"], body.name, labels=body.labels, pause=body.pause)
    return json(made, 201)


@routes.post("/sampan/volumes/{name}/snapshot")
async def snapshot(request: Request, services: Services) -> Response:
    body = await request.document(CopyVolume)
    made = await services.copies.snapshot(
        request.path["name"], body.name, labels=body.labels, pause=body.pause
    )
    return json(made, 201)


@routes.post("/sampan/volumes/{name}/rename")
async def rename(request: Request, services: Services) -> Response:
    body = await request.document(CopyVolume)
    await services.copies.rename(request.path["name"], body.name)
    return Response(204)


@routes.get("/sampan/volumes/{name}/usage")
async def usage(request: Request, services: Services) -> Response:
    return json(await services.copies.usage(request.path["name"]))


@routes.get("/sampan/volumes/{name}/diff")
async def diff(request: Request, services: Services) -> Response:
    return json(await services.copies.diff(request.path["name"], request.query.text("other")))
