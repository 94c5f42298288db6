"""The event stream: which events are shown, how, and from when."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any, cast

import msgspec
import pytest

from sampan.api.body import EMPTY
from sampan.api.http1 import parse_head
from sampan.api.request import Request
from sampan.api.routes.system import events, matches, render
from sampan.api.services import Services
from sampan.base.errors import InvalidParameter
from sampan.base.events import Event, EventBus

START = Event(
    "container",
    "start",
    "c" * 64,
    {"image": "reg/alpine:3.20", "name": "web", "tier": "front"},
    1_500_000_000,
)
EXEC = Event("container", "exec_create: sh -c x", "c" * 64, {"image": "alpine", "name": "web"}, 2)
TAG = Event("image", "tag", "sha256:abc", {"name": "alpine:3.20"}, 3)
CONNECT = Event("network", "connect", "n" * 64, {"container": "c" * 64, "name": "bridge"}, 4)


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        ({}, [START, EXEC, TAG, CONNECT]),
        ({"type": ["container"]}, [START, EXEC]),
        ({"type": ["image", "network"]}, [TAG, CONNECT]),
        ({"event": ["start"]}, [START]),
        ({"event": ["star"]}, []),
        ({"event": ["exec_create"]}, [EXEC]),
        ({"event": ["exec_create", "tag"]}, [EXEC, TAG]),
        ({"container": ["web"]}, [START, EXEC]),
        ({"container": ["ccc"]}, [START, EXEC]),
        ({"container": ["other"]}, []),
        ({"network": ["bridge"]}, [CONNECT]),
        ({"image": ["alpine:3.20"]}, [TAG]),
        ({"image": ["alpine"]}, [EXEC, TAG]),
        ({"image": ["reg/alpine"]}, [START]),
        ({"image": ["sha256:abc"]}, [TAG]),
        ({"label": ["tier"]}, [START]),
        ({"label": ["tier=back"]}, []),
        ({"scope": ["local"]}, [START, EXEC, TAG, CONNECT]),
        ({"scope": ["swarm"]}, []),
        ({"container": ["web"], "event": ["start"], "type": ["container"]}, [START]),
        ({"nonsense": ["x"]}, [START, EXEC, TAG, CONNECT]),
    ],
    ids=str,
)
def test_filters(filters: dict[str, list[str]], shown: list[Event]) -> None:
    assert [event for event in (START, EXEC, TAG, CONNECT) if matches(filters, event)] == shown


def test_lines_have_the_new_names_and_the_old() -> None:
    line = render(START)
    assert line.endswith(b"}\n")
    assert msgspec.json.decode(line) == {
        "status": "start",
        "id": "c" * 64,
        "from": "reg/alpine:3.20",
        "Type": "container",
        "Action": "start",
        "Actor": {
            "ID": "c" * 64,
            "Attributes": {"image": "reg/alpine:3.20", "name": "web", "tier": "front"},
        },
        "scope": "local",
        "time": 1,
        "timeNano": 1_500_000_000,
    }
    assert not {"status", "id", "from"} & set(msgspec.json.decode(render(CONNECT)))
    assert "from" not in msgspec.json.decode(render(TAG))


class FakeSystem:
    listeners = 0


class FakeServices:
    def __init__(self) -> None:
        self.events = EventBus()
        self.system = FakeSystem()


def stream(services: FakeServices, query: str) -> AsyncGenerator[bytes, None]:
    head = parse_head(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
    pieces = events(Request(head, EMPTY, {}, query, (1, 51)), cast("Services", services)).pieces
    return cast("AsyncGenerator[bytes, None]", pieces)


async def collect(pieces: AsyncGenerator[bytes, None]) -> list[str]:
    return [cast("dict[str, Any]", msgspec.json.decode(piece))["Action"] async for piece in pieces]


def test_new_events_are_streamed_until_the_client_leaves() -> None:
    async def scene() -> None:
        services = FakeServices()
        services.events.publish("container", "create", "a")
        pieces = stream(services, "")
        first = asyncio.ensure_future(anext(pieces))  # noqa: TID251 - the test owns it
        await asyncio.sleep(0)
        assert services.system.listeners == 1
        services.events.publish("container", "start", "a")
        assert b"start" in await first, "what was before nobody asked for"
        await pieces.aclose()
        assert services.system.listeners == 0
        assert not services.events._subscribers

    asyncio.run(scene())


def test_past_events_are_shown_on_demand() -> None:
    async def scene() -> None:
        services = FakeServices()
        old = services.events.publish("container", "create", "a")
        services.events.publish("container", "start", "a")
        until = f"{time.time_ns() // 10**9 + 1}"
        assert await collect(stream(services, f"until={old.time_ns / 1e9:.9f}")) in (["create"], [])
        past = f"{old.time_ns // 10**9}.{old.time_ns % 10**9:09d}"
        assert await collect(stream(services, f"until={past}")) == ["create"]
        assert await collect(stream(services, f'since={past}&until={past}&filters={{"event":["die"]}}')) == []
        pieces = stream(services, f"since={past}&until={until}")
        assert b"create" in await anext(pieces)
        assert b"start" in await anext(pieces)
        await pieces.aclose()

    asyncio.run(scene())


def test_the_stream_ends_at_its_time_and_with_the_bus() -> None:
    async def scene() -> None:
        services = FakeServices()
        soon = time.time_ns() + 10_000_000
        assert await collect(stream(services, f"until={soon // 10**9}.{soon % 10**9:09d}")) == []
        pieces = stream(services, "")
        reading = asyncio.ensure_future(collect(pieces))  # noqa: TID251 - the test owns it
        await asyncio.sleep(0)
        services.events.close()
        assert await reading == []

    asyncio.run(scene())


def test_times_must_be_in_order() -> None:
    with pytest.raises(InvalidParameter, match=r"`since` time \(20\) cannot be after `until` time \(10\)"):
        stream(FakeServices(), "since=20&until=10")
