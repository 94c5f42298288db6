"""Entries of the list of containers that are kept."""

from collections.abc import Callable

import pytest

from sampan.containers.container import Container, Row, Status
from sampan.containers.listing import entry, status_text
from sampan.wire.containers import (
    ContainerConfig,
    ContainerSummary,
    EndpointSettings,
    HostConfig,
    NetworkSettings,
)


def container() -> Container:
    host = HostConfig(network_mode="mine")
    return Container(Row("c" * 64, "web", 5, "", None, "sh", [], ContainerConfig(), host, {}, [], "vfs"))


def rename(row: Row) -> None:
    row.name = "other"


def start(row: Row) -> None:
    row.network = NetworkSettings(networks={"mine": EndpointSettings(ip_address="10.0.0.2")})


def connect(row: Row) -> None:
    row.endpoints = {"second": EndpointSettings()}


def disconnect(row: Row) -> None:
    row.detached = True


def update(row: Row) -> None:
    row.host = HostConfig(network_mode="host")


@pytest.mark.parametrize("change", [rename, start, connect, disconnect, update])
def test_an_entry_is_rendered_again_when_it_changes(change: Callable[[Row], None]) -> None:
    seen: list[ContainerSummary] = []

    def render(summary: ContainerSummary) -> bytes:
        seen.append(summary)
        return b"%d" % len(seen)

    found = container()
    assert [entry(found, render), entry(found, render)] == [b"1", b"1"]
    change(found.row)
    assert [entry(found, render), entry(found, render)] == [b"2", b"2"]
    assert seen[0] != seen[1]


def test_state_and_status_are_no_part_of_an_entry() -> None:
    found = container()
    kept = entry(found, lambda summary: summary.id.encode())
    found.state.status, found.state.started_ns = Status.RUNNING, 10**9
    assert status_text(found, 4 * 10**9) == "Up 3 seconds"
    found.state.status = Status.PAUSED
    assert status_text(found, 5 * 10**9) == "Up 4 seconds (Paused)"
    assert kept == b"c" * 64


def test_renderers_do_not_share_what_is_kept() -> None:
    found = container()

    def one(_: ContainerSummary) -> bytes:
        return b"1"

    def two(_: ContainerSummary) -> bytes:
        return b"2"

    assert [entry(found, one), entry(found, two), entry(found, one)] == [b"1", b"2", b"1"]
