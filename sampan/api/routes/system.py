"""Ping, version, info, events, disk usage, registry log-in."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Final

import msgspec

from sampan.api.filters import Filters, matches_exactly, matches_labels, matches_prefix, parse_filters
from sampan.api.render import render_containers, render_images, render_info
from sampan.api.request import Request
from sampan.api.response import Response, StreamResponse, json
from sampan.api.router import Routes
from sampan.api.services import Services
from sampan.api.versions import MAX_VERSION
from sampan.base.errors import InvalidParameter
from sampan.base.events import Event, EventBus
from sampan.base.times import parse_moment_ns
from sampan.insight.service import KINDS
from sampan.wire.disk import PrunePlan
from sampan.wire.system import EventActor, EventMessage
from sampan.wire.volumes import Volume

routes = Routes()

_PING: Final = {
    "Builder-Version": "1",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Swarm": "inactive",
}
_OK: Final = Response(200, b"OK", "text/plain; charset=utf-8", _PING)
_OK_HEAD: Final = Response(200, b"", "text/plain; charset=utf-8", _PING)
_encode: Final = msgspec.json.Encoder().encode
# Docker compares these by prefix: the action goes on with what was run
_OPEN_ENDED: Final = frozenset({"health_status", "exec_create", "exec_start"})
_NAMED: Final = ("daemon", "container", "plugin", "volume", "network", "node", "service", "secret", "config")


@routes.get("/_ping")
def ping(request: Request, services: Services) -> Response:
    return _OK


@routes.head("/_ping")
def ping_head(request: Request, services: Services) -> Response:
    return _OK_HEAD


@routes.get("/version")
async def version(request: Request, services: Services) -> Response:
    return json(await services.system.version())


@routes.get("/info")
async def info(request: Request, services: Services) -> Response:
    images = len(services.images.list(all=True, filters={}))
    found = await services.system.info(services.containers.counts(), images)
    return json(render_info(found, request.version))


@routes.get("/events")
def events(request: Request, services: Services) -> StreamResponse:
    since, until = request.query.text("since"), request.query.text("until")
    since_ns = parse_moment_ns(since) if since else None
    until_ns = parse_moment_ns(until) if until else None
    if until_ns is not None and until_ns < (since_ns or 0):
        raise InvalidParameter(f"`since` time ({since}) cannot be after `until` time ({until})")
    return StreamResponse(_event_stream(services, request.filters(), since_ns, until_ns))


async def _event_stream(
    services: Services, filters: Filters, since_ns: int | None, until_ns: int | None
) -> AsyncGenerator[bytes, None]:
    """Yield the remembered events if a time was given, then those that come, up to ``until_ns``."""
    bus: EventBus = services.events
    services.system.listeners += 1
    try:
        with bus.subscribe() as subscription:
            if since_ns is not None or until_ns is not None:
                for event in bus.history():
                    in_time = (since_ns or 0) <= event.time_ns <= (until_ns or event.time_ns)
                    if in_time and matches(filters, event):
                        yield render(event)
            coming = aiter(subscription)
            with suppress(TimeoutError, StopAsyncIteration):
                while True:
                    left_s = None if until_ns is None else max(0.0, (until_ns - time.time_ns()) / 1e9)
                    async with asyncio.timeout(left_s):
                        event = await anext(coming)
                    if matches(filters, event):
                        yield render(event)
    finally:
        services.system.listeners -= 1


def matches(filters: Filters, event: Event) -> bool:
    """Tell whether ``event`` passes ``filters`` (moby, daemon/events/filter.go)."""
    if not filters:
        return True
    wanted = filters.get("event", ())
    by_action = matches_prefix if _OPEN_ENDED.intersection(wanted) else matches_exactly
    name = event.attributes.get("name", "")
    return (
        by_action(filters, "event", event.action)
        and matches_exactly(filters, "type", event.type)
        and matches_exactly(filters, "scope", event.scope)
        and all(
            matches_prefix(filters, kind, event.actor) or matches_prefix(filters, kind, name)
            for kind in _NAMED
            if kind in filters
        )
        and _matches_image(filters, event)
        and matches_labels(filters, "label", event.attributes)
    )


def _matches_image(filters: Filters, event: Event) -> bool:
    if "image" not in filters:
        return True
    name = event.attributes.get("name" if event.type == "image" else "image", "")
    return any(matches_exactly(filters, "image", text) for text in (event.actor, name, _untagged(name)))


def _untagged(name: str) -> str:
    path, colon, tag = name.partition("@")[0].rpartition(":")
    return path if colon and "/" not in tag else name


def render(event: Event) -> bytes:
    """Render ``event`` as a line of the stream, with the old names beside the new ones."""
    message = EventMessage(
        type=event.type,
        action=event.action,
        actor=EventActor(event.actor, dict(event.attributes)),
        scope=event.scope,
        time=event.time_ns // 10**9,
        time_nano=event.time_ns,
    )
    if event.type in {"container", "image"}:
        message.status = event.action
        message.id = event.actor
        message.from_ = event.attributes.get("image", "") if event.type == "container" else ""
    return _encode(message) + b"\n"


_OBJECTS: Final = ("container", "image", "volume", "build-cache")


@routes.get("/system/df")
async def disk_usage(request: Request, services: Services) -> Response:
    wanted = request.query.all("type") if request.version >= (1, 42) else []
    for name in wanted:
        if name not in _OBJECTS:
            raise InvalidParameter(f"unknown object type: {name}")
    wanted = wanted or list(_OBJECTS)
    answer: dict[str, Any] = {
        "LayersSize": 0,
        "Images": None,
        "Containers": None,
        "Volumes": None,
        "BuildCache": [] if "build-cache" in wanted else None,
    }
    if request.version < (1, 42):
        answer["BuilderSize"] = 0
    if "image" in wanted:
        images, answer["LayersSize"] = await services.insight.image_usage()
        answer["Images"] = render_images(images, services.containers.users_of_images(), MAX_VERSION)
    if "container" in wanted:
        containers = await services.insight.container_usage()
        answer["Containers"] = render_containers(containers, request.version)
    if "volume" in wanted:
        usage = await services.insight.volume_usage()
        answer["Volumes"] = [
            _used_volume(volume, *usage.get(volume.name, (-1, 0)))
            for volume in services.volumes.list_volumes({})
        ]
    return json(answer)


def _used_volume(volume: Volume, size: int, users: int) -> dict[str, Any]:
    return {**msgspec.to_builtins(volume), "UsageData": {"Size": size, "RefCount": users}}


@routes.get("/sampan/system/df")
async def disk_account(request: Request, services: Services) -> Response:
    return json(await services.insight.account())


@routes.get("/sampan/system/check")
async def check(request: Request, services: Services) -> Response:
    return json(await services.insight.check(quick=request.query.flag("quick")))


@routes.post("/sampan/system/check")
async def repair(request: Request, services: Services) -> Response:
    return json(await services.insight.check(repair=True, quick=request.query.flag("quick")))


@routes.get("/sampan/prune")
async def plan_prune(request: Request, services: Services) -> Response:
    """Each kind that is in the query is planned, with its value as filters."""
    filters = {kind: parse_filters(request.query.text(kind)) for kind in KINDS if request.query.all(kind)}
    return json(PrunePlan(await services.insight.plan_prune(filters)))


@routes.post("/sampan/prune")
async def prune(request: Request, services: Services) -> Response:
    plan = await request.document(PrunePlan)
    return json(await services.insight.prune(plan.items))
