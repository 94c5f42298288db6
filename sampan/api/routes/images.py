"""Images: what there is, loading, naming, removing."""

from sampan.api.progress import begun, progress_lines
from sampan.api.render import render_image, render_images
from sampan.api.request import Request
from sampan.api.response import Response, StreamResponse, json
from sampan.api.router import Routes
from sampan.api.services import Services
from sampan.base.errors import InvalidParameter
from sampan.base.threads import Pulled, blocking
from sampan.images.compression import Readable
from sampan.oci.digest import Digest
from sampan.oci.reference import parse_any
from sampan.registry.auth import NOBODY, AuthDocument, Credentials, credentials_of, parse_auth_header
from sampan.registry.errors import InvalidAuth
from sampan.wire.answers import CommittedImage
from sampan.wire.containers import ContainerConfig
from sampan.wire.images import DistributionInspect, OCIDescriptor, OCIPlatform
from sampan.wire.system import AuthStatus, Progress

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
        manifests=query.flag("manifests") and request.version >= (1, 47),
    )
    return json(render_images(found, services.containers.users_of_images(), request.version))


@routes.get("/images/get")
async def save_several(request: Request, services: Services) -> StreamResponse:
    return await _save(request, services, request.query.all("names"))


@routes.get("/images/{name...}/get")
async def save(request: Request, services: Services) -> StreamResponse:
    return await _save(request, services, [request.path["name"]])


async def _save(request: Request, services: Services, names: list[str]) -> StreamResponse:
    archive = await services.images.save(names, platform=_platform(request, (1, 48)))
    return StreamResponse(archive, "application/x-tar")


@routes.get("/images/{name...}/json")
def inspect(request: Request, services: Services) -> Response:
    found = services.images.inspect(
        request.path["name"],
        platform=_platform(request, (1, 49)),
        manifests=request.query.flag("manifests") and request.version >= (1, 48),
    )
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


@routes.post("/commit")
async def commit(request: Request, services: Services) -> Response:
    query = request.query
    config = await request.optional_document(ContainerConfig)
    image_id = await services.containers.commit(
        query.text("container"),
        repo=query.text("repo"),
        tag=query.text("tag"),
        author=query.text("author"),
        comment=query.text("comment"),
        changes=query.all("changes"),
        config=config,
        pause=query.flag("pause", default=True),
    )
    return json(CommittedImage(image_id), 201)


@routes.post("/images/create")
async def create(request: Request, services: Services) -> Response | StreamResponse:
    query = request.query
    source = query.text("fromSrc")
    if not source:
        return await _pull(request, services)
    if source == "-":
        return await _import(request, services, Pulled(aiter(request.body)))
    from sampan.images.fetch import Download

    download = await blocking(Download, source)
    try:
        return await _import(request, services, download)
    finally:
        await blocking(download.close)


async def _pull(request: Request, services: Services) -> StreamResponse:
    query = request.query
    name, tag = query.text("fromImage"), query.text("tag")
    platform = query.text("platform") if request.version >= (1, 32) else ""
    credentials = _credentials(request, strict=False)
    lines = progress_lines(
        "pull",
        lambda progress: services.images.pull(
            pull_name(name, tag), progress, platform=platform or None, credentials=credentials
        ),
        raises=True,
    )
    return StreamResponse(await begun(lines))


async def _import(request: Request, services: Services, archive: Readable) -> Response:
    """Import, and answer when it is done: what is wrong with a request has a status of its own."""
    query = request.query
    image_id = await services.images.import_archive(
        archive,
        repo=query.text("repo"),
        tag=query.text("tag"),
        comment=query.text("message") or f"Imported from {query.text('fromSrc')}",
        changes=query.all("changes"),
        platform=query.text("platform") or None,
    )
    return json(Progress(status=image_id))


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


@routes.post("/images/{name...}/push")
async def push(request: Request, services: Services) -> StreamResponse:
    name, tag = request.path["name"], request.query.text("tag")
    platform = _platform(request, (1, 46))
    credentials = _credentials(request, strict=True)
    lines = progress_lines(
        "push",
        lambda progress: services.images.push(
            name, tag, progress, platform=platform, credentials=credentials
        ),
        raises=True,
    )
    return StreamResponse(await begun(lines))


@routes.get("/distribution/{name...}/json")
async def distribution(request: Request, services: Services) -> Response:
    name = request.path["name"]
    reference = parse_any(name)
    if isinstance(reference, Digest):
        raise InvalidParameter(f"unknown image reference format: {name}")
    found, platforms = await services.registries.inspect(
        reference.with_default_tag(), _credentials(request, strict=False)
    )
    return json(
        DistributionInspect(
            OCIDescriptor(found.media_type, found.digest, found.size),
            [
                OCIPlatform(each.architecture, each.os, each.os_version, list(each.os_features), each.variant)
                for each in platforms
            ],
        )
    )


@routes.get("/images/search")
async def search(request: Request, services: Services) -> Response:
    from sampan.registry import search as registry_search  # seldom asked for

    query = request.query
    wanted = registry_search.plan(query.text("term"), query.integer("limit") or 0, request.filters())
    credentials = _credentials(request, strict=False)
    return json(await registry_search.search(services.registries, wanted, credentials))


@routes.post("/auth")
async def login(request: Request, services: Services) -> Response:
    """Check credentials; the password is not kept."""
    document = await request.document(AuthDocument)
    done = await services.registries.login(credentials_of(document))
    return json(AuthStatus("Login Succeeded", done.identity_token))


def pull_name(name: str, tag: str) -> str:
    """Return one reference for the parameters fromImage and tag, which may be a digest."""
    if not tag:
        return name
    bare = name.partition("@")[0]
    if ":" in bare.rpartition("/")[2]:
        bare = bare.rpartition(":")[0]
    return f"{bare}@{tag}" if ":" in tag else f"{bare}:{tag}"


def _credentials(request: Request, *, strict: bool) -> Credentials:
    """Return whom the request speaks for; unless ``strict``, what cannot be read is nobody."""
    try:
        return parse_auth_header(request.head.headers.get("x-registry-auth", ""))
    except InvalidAuth:
        if strict:
            raise
        return NOBODY


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
