"""Copying files out of containers and into them."""

import base64

import msgspec

from sampan.api.request import Request
from sampan.api.response import Response, StreamResponse
from sampan.api.router import Routes
from sampan.api.services import Services
from sampan.base.errors import InvalidParameter
from sampan.wire.archive import STAT_HEADER, PathStat

routes = Routes()
_TAR = "application/x-tar"


def _path(request: Request) -> str:
    path = request.query.text("path")
    if not path:
        raise InvalidParameter("bad parameter: path cannot be empty")
    if "\0" in path:
        raise InvalidParameter("bad parameter: path with a NUL in it")
    return path


def _headers(found: PathStat) -> dict[str, str]:
    return {STAT_HEADER: base64.b64encode(msgspec.json.encode(found)).decode()}


@routes.head("/containers/{name}/archive")
async def stat(request: Request, services: Services) -> Response:
    found = await services.containers.stat_path(request.path["name"], _path(request))
    return Response(200, headers=_headers(found))


@routes.get("/containers/{name}/archive")
async def read(request: Request, services: Services) -> StreamResponse:
    found, archive = await services.containers.read_archive(request.path["name"], _path(request))
    return StreamResponse(archive, _TAR, headers=_headers(found))


@routes.put("/containers/{name}/archive")
async def write(request: Request, services: Services) -> Response:
    query = request.query
    await services.containers.write_archive(
        request.path["name"],
        _path(request),
        aiter(request.body),
        keep_kinds=query.flag("noOverwriteDirNonDir"),
        own=query.flag("copyUIDGID"),
    )
    return Response(200)
