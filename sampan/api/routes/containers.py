"""Containers: their life, their output, what is known about them."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable
from contextlib import aclosing

from sampan.api.render import (
    ENTRIES_SINCE,
    render_brief_entry,
    render_container,
    render_containers,
    render_entries,
    render_entry,
)
from sampan.api.request import Request
from sampan.api.response import JSON, Answer, Hijack, Response, StreamResponse, json
from sampan.api.router import Routes
from sampan.api.services import Services
from sampan.api.upgrade import hijack, stream_type
from sampan.api.versions import read_create, read_update
from sampan.api.websocket import accept_websocket
from sampan.base.errors import InvalidParameter, NotImplementedHere
from sampan.base.times import parse_moment_ns
from sampan.containers.attach import Attachment
from sampan.logs.service import LogQuery
from sampan.runtime.task import Streams
from sampan.wire.answers import ChangedPath, PrunedContainers, UpdatedContainer
from sampan.wire.containers import ChangePorts, CreateContainer, UpdateContainer, WaitResult
from sampan.wire.stats import ContainerStats

routes = Routes()
_NO_CONTENT = Response(204)


@routes.get("/containers/json")
async def list_containers(request: Request, services: Services) -> Response:
    query = request.query
    filters = request.filters()
    for name in ("before", "since"):  # parameters of their own before there were filters
        if value := query.text(name):
            filters.setdefault(name, [value])
    everything, limit, size = query.flag("all"), query.integer("limit") or 0, query.flag("size")
    if request.version >= ENTRIES_SINCE and not size:
        render = render_brief_entry if query.flag("brief") else render_entry
        entries = services.containers.list_entries(render, all=everything, limit=limit, filters=filters)
        return Response(200, render_entries(entries), JSON)
    found = await services.containers.list_containers(all=everything, limit=limit, size=size, filters=filters)
    return json(render_containers(found, request.version))


@routes.post("/containers/create")
async def create(request: Request, services: Services) -> Response:
    body = await request.document(CreateContainer)
    read_create(body, request.version, cgroup_v2=services.system.cgroup_v2)
    platform = request.query.text("platform") if request.version >= (1, 41) else ""
    name = request.query.text("name")
    return json(await services.containers.create(body, name=name or None, platform=platform or None), 201)


@routes.get("/containers/{name}/json")
async def inspect(request: Request, services: Services) -> Response:
    found = await services.containers.inspect(request.path["name"], size=request.query.flag("size"))
    return json(render_container(found, request.version))


@routes.post("/containers/{name}/start")
async def start(request: Request, services: Services) -> Response:
    length = request.head.length
    if length is None or length > 7:  # a JSON object that says something has at least 7 characters
        raise InvalidParameter(
            "starting container with non-empty request body was deprecated since API v1.22 "
            "and removed in v1.24"
        )
    if request.query.text("checkpoint"):
        raise NotImplementedHere("checkpoints are not supported by this version of sampan")
    started = await services.containers.start(request.path["name"])
    return Response(204 if started else 304)


@routes.post("/containers/{name}/stop")
async def stop(request: Request, services: Services) -> Response:
    signal, timeout = _how_to_stop(request)
    stopped = await services.containers.stop(request.path["name"], signal=signal, timeout=timeout)
    return Response(204 if stopped else 304)


@routes.post("/containers/{name}/restart")
async def restart(request: Request, services: Services) -> Response:
    signal, timeout = _how_to_stop(request)
    await services.containers.restart(request.path["name"], signal=signal, timeout=timeout)
    return _NO_CONTENT


def _how_to_stop(request: Request) -> tuple[str | None, int | None]:
    signal = request.query.text("signal") if request.version >= (1, 42) else ""
    return signal or None, request.query.integer("t")


@routes.post("/containers/{name}/kill")
async def kill(request: Request, services: Services) -> Response:
    await services.containers.kill(request.path["name"], request.query.text("signal") or "KILL")
    return _NO_CONTENT


@routes.post("/containers/{name}/pause")
async def pause(request: Request, services: Services) -> Response:
    await services.containers.pause(request.path["name"])
    return _NO_CONTENT


@routes.post("/containers/{name}/unpause")
async def unpause(request: Request, services: Services) -> Response:
    await services.containers.unpause(request.path["name"])
    return _NO_CONTENT


@routes.post("/containers/{name}/rename")
async def rename(request: Request, services: Services) -> Response:
    await services.containers.rename(request.path["name"], request.query.text("name"))
    return _NO_CONTENT


@routes.post("/containers/{name}/update")
async def update(request: Request, services: Services) -> Response:
    body = await request.document(UpdateContainer)
    read_update(body, request.version)
    warnings = await services.containers.update(request.path["name"], body)
    return json(UpdatedContainer(warnings or None))


@routes.post("/containers/{name}/resize")
async def resize(request: Request, services: Services) -> Response:
    rows, cols = request.query.terminal_size("h", "height"), request.query.terminal_size("w", "width")
    await services.containers.resize(request.path["name"], rows, cols)
    return Response(200)


@routes.delete("/containers/{name...}")
async def remove(request: Request, services: Services) -> Response:
    query = request.query
    await services.containers.remove(
        request.path["name"], force=query.flag("force"), volumes=query.flag("v"), link=query.flag("link")
    )
    return _NO_CONTENT


@routes.post("/containers/{name}/wait")
async def wait(request: Request, services: Services) -> Answer:
    name, condition = request.path["name"], request.query.text("condition") or "not-running"
    if request.version < (1, 30):
        return json(await (await services.containers.wait(name, "not-running")))
    return StreamResponse(_exit(await services.containers.wait(name, condition)))


async def _exit(waiting: Awaitable[WaitResult]) -> AsyncGenerator[bytes, None]:
    yield json(await waiting).body


@routes.get("/containers/{name}/logs")
async def logs(request: Request, services: Services) -> StreamResponse:
    query = request.query
    until = query.text("until")
    wanted = LogQuery(
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        since_ns=parse_moment_ns(query.text("since")) if query.text("since") else None,
        until_ns=parse_moment_ns(until) if until and until != "0" else None,
        tail=_tail(query.text("tail")),
        follow=query.flag("follow"),
        timestamps=query.flag("timestamps"),
        details=query.flag("details"),
    )
    stream = await services.containers.logs(request.path["name"], wanted)
    return StreamResponse(_pass_on(stream), stream_type(request.version, tty=stream.tty))


def _tail(text: str) -> int:
    """Return the number of lines; all of them (-1) for anything that is none, as Docker does."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


async def _pass_on(stream: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    async for piece in stream:
        yield piece


@routes.post("/containers/{name}/attach")
async def attach(request: Request, services: Services) -> Hijack:
    attachment = await _attachment(request, services)
    return hijack(request, attachment.run, tty=attachment.tty)


@routes.get("/containers/{name}/attach/ws")
async def attach_websocket(request: Request, services: Services) -> Hijack:
    accept = accept_websocket(request)
    attachment = await _attachment(request, services)
    return accept(attachment.run, attachment.tty)


async def _attachment(request: Request, services: Services) -> Attachment:
    query = request.query
    return await services.containers.attach(
        request.path["name"],
        logs=query.flag("logs"),
        stream=query.flag("stream"),
        streams=Streams(query.flag("stdin"), query.flag("stdout"), query.flag("stderr")),
        detach_keys=query.text("detachKeys"),
    )


@routes.get("/containers/{name}/top")
async def top(request: Request, services: Services) -> Response:
    return json(await services.containers.top(request.path["name"], request.query.text("ps_args")))


@routes.get("/containers/{name}/stats")
async def stats(request: Request, services: Services) -> StreamResponse:
    query = request.query
    samples = await services.containers.stats(
        request.path["name"],
        stream=query.flag("stream", default=True),
        one_shot=query.flag("one-shot") and request.version >= (1, 41),
    )
    return StreamResponse(_sample_lines(samples))


async def _sample_lines(samples: AsyncGenerator[ContainerStats, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(samples):
        async for sample in samples:
            yield json(sample).body


@routes.get("/containers/{name}/changes")
async def changes(request: Request, services: Services) -> Response:
    found = await services.containers.changes(request.path["name"])
    return json([ChangedPath(change.path, change.kind) for change in found] or None)


@routes.get("/containers/{name}/export")
async def export(request: Request, services: Services) -> StreamResponse:
    archive = await services.containers.export(request.path["name"])
    return StreamResponse(archive, "application/x-tar")


@routes.post("/containers/prune")
async def prune(request: Request, services: Services) -> Response:
    removed, freed = await services.containers.prune(request.filters())
    return json(PrunedContainers(removed or None, freed))


@routes.post("/sampan/containers/{name}/ports/add")
async def add_ports(request: Request, services: Services) -> Response:
    body = await request.document(ChangePorts)
    return json(ChangePorts(await services.containers.change_ports(request.path["name"], body.ports, {})))


@routes.post("/sampan/containers/{name}/ports/remove")
async def remove_ports(request: Request, services: Services) -> Response:
    body = await request.document(ChangePorts)
    return json(ChangePorts(await services.containers.change_ports(request.path["name"], {}, body.ports)))
