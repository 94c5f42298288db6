"""Images: what there is, loading, naming, removing."""

from sampan.api.progress import progress_lines
from sampan.api.render import render_image, render_images
from sampan.api.request import Request
from sampan.api.response import Response, StreamResponse, json
from sampan.api.router import Routes
from sampan.api.services import Services
from sampan.base.errors import InvalidParameter

routes = Routes()


@routes.get("/images/json")
def list_images(request: Request, services: Services) -> Response:
    query, filters = request.query, request.filters()
    if request.version < (1, 41) and (name := query.text("filter")):
        filters.setdefault("reference", []).append(name)
    found = services.images.list(
        all=query.flag("all"),
        filters=filters,
        shared_size=query.flag("shared-size") and request.version >= (1, 42),
        digests=query.flag("digests"),
        manifests=query.flag("manifests"),
    )
    users = {image.id: len(services.containers.containers_of(image.id)) for image in found}
    return json(render_images(found, users, request.version))


@routes.get("/images/{name...}/json")
def inspect(request: Request, services: Services) -> Response:
    found = services.images.inspect(request.path["name"], platform=_platform(request, (1, 49)))
    return json(render_image(found, request.version))


@routes.get("/images/{name...}/history")
def history(request: Request, services: Services) -> Response:
    return json(services.images.history(request.path["name"], platform=_platform(request, (1, 48))))


@routes.post("/images/{name...}/tag")
async def tag(request: Request, services: Services) -> Response:
    query = request.query
    await services.images.tag(request.path["name"], query.text("repo"), query.text("tag"))
    return Response(201)


@routes.delete("/images/{name...}")
async def remove(request: Request, services: Services) -> Response:
    query, name = request.query, request.path["name"]
    if not name.strip():
        raise InvalidParameter("image name cannot be blank")
    await services.containers.settle()  # layers of containers removed just now stand on the image's
    steps = await services.images.remove(name, force=query.flag("force"), prune=not query.flag("noprune"))
    return json(steps)


@routes.post("/images/prune")
async def prune(request: Request, services: Services) -> Response:
    await services.containers.settle()
    return json(await services.images.prune(request.filters()))


@routes.post("/images/load")
def load(request: Request, services: Services) -> StreamResponse:
    quiet = request.query.flag("quiet", default=True)
    platform = _platform(request, (1, 48))
    return StreamResponse(
        progress_lines(
            "load",
            lambda progress: services.images.load(
                aiter(request.body), progress, quiet=quiet, platform=platform
            ),
        )
    )


@routes.post("/sampan/images/bootstrap")
def bootstrap(request: Request, services: Services) -> StreamResponse:
    image = request.query.text("image")
    if not image:
        raise InvalidParameter("image: say what to make: busybox, or debian[:SUITE]")
    return StreamResponse(
        progress_lines("bootstrap", lambda progress: services.images.bootstrap(image, progress))
    )


def _platform(request: Request, since: tuple[int, ...]) -> str | None:
    """Return the platform that is asked for as ``os/architecture[/variant]``."""
    platform = request.query.platform() if request.version >= since else None
    if platform is None:
        return None
    return "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)
