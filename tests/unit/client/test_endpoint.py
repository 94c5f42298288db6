"""Addresses of daemons, against the table of what Docker's client takes."""

import shlex
from collections.abc import Callable
from typing import Any, Final

import pytest
from support.shared import table

from sampan.client.endpoint import Endpoint, parse_address, parse_host, parse_tcp
from sampan.client.errors import ClientError
from sampan.client.ssh import parse_ssh, remote_command

PARSERS: Final[dict[str, Callable[[str], str]]] = {
    "host": parse_host,
    "address": parse_address,
    "tcp": lambda text: parse_tcp(text, "tcp://127.0.0.1:2376"),
}


@pytest.mark.parametrize("row", table("client/host"), ids=lambda row: f"{row['what']} {row['input']}")
def test_host_table(row: dict[str, Any]) -> None:
    parse = PARSERS[row["what"]]
    if "error" not in row:
        assert parse(row["input"]) == row["output"]
        return
    with pytest.raises(ClientError) as caught:
        parse(row["input"])
    assert row["error"] in (True, str(caught.value))


def test_blank_means_tls_port_with_tls() -> None:
    assert parse_host("", tls=True) == "tcp://localhost:2376"


@pytest.mark.parametrize(
    ("host", "address", "port", "base"),
    [
        ("unix:///run/x.sock", "/run/x.sock", 0, ""),
        ("tcp://h:1", "h", 1, ""),
        ("tcp://[::1]:2375/engine/", "::1", 2375, "/engine"),
        ("ssh://me@h", "me@h", 0, ""),
    ],
)
def test_parts(host: str, address: str, port: int, base: str) -> None:
    endpoint = Endpoint(host)
    assert (endpoint.address, endpoint.port, endpoint.base) == (address, port, base)


def test_other_protocols_are_refused() -> None:
    with pytest.raises(ClientError, match=r'protocol not available: "npipe:'):
        Endpoint("npipe:////./pipe/x")


@pytest.mark.parametrize("row", table("client/ssh_url"), ids=lambda row: repr(row["url"]))
def test_ssh_table(row: dict[str, Any]) -> None:
    url = str(row["url"])
    if "error" in row:
        with pytest.raises(ClientError) as caught:
            parse_ssh(url)
        assert str(caught.value) == row["error"]
        return
    args, path = parse_ssh(url)
    assert args == row["args"][: len(args)]
    if row["remote"]:
        assert shlex.split(remote_command(path)) == row["remote"]
