"""Versions, queries, errors: what all requests have in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon, Received, Reply
from support.shared import table

from sampan.base.errors import Conflict, NotFound
from sampan.client.api import Client
from sampan.client.errors import ClientError, ConnectionFailed, DaemonError
from sampan.client.session import quote, render_filters, render_query, version_key


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as fake:
        yield fake


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client(f"unix://{tmp_path}/s") as made:
        yield made


def too_new(request: Received) -> Reply:
    if request.version != "1.41":
        message = f"client version {request.version} is too new. Maximum supported API version is 1.41"
        return Reply(400, f'{{"message":"{message}"}}'.encode())
    return Reply(body=b'{"ID": "x"}')


def test_newest_version_at_once(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET", "/info", json={"ID": "x"})
    assert client.info() == {"ID": "x"}
    assert [r.target for r in daemon.requests] == ["/v1.51/info"]


def test_an_older_daemon_is_asked_again_in_its_version(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET", "/info", too_new)
    first, second = client.begin("GET", "/info"), client.begin("GET", "/info")
    assert first.result() == second.result() == {"ID": "x"}
    assert client.info() == {"ID": "x"}
    assert sorted(r.version for r in daemon.requests) == ["1.41", "1.41", "1.41", "1.51", "1.51"]


def test_a_pinned_version_is_kept(tmp_path: Path, daemon: FakeDaemon) -> None:
    daemon.on("GET", "/info", too_new)
    with (
        Client(f"unix://{tmp_path}/s", version="1.43") as client,
        pytest.raises(DaemonError, match="too new"),
    ):
        client.info()


def test_version_is_settled_before_a_body_that_cannot_be_repeated(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET", "/_ping", headers={"Api-Version": "1.44"})
    daemon.on("POST", "/images/load", chunks=[b'{"stream": "Loaded"}\n'])
    assert list(client.load(iter([b"tar"]))) == [{"stream": "Loaded"}]
    assert daemon.requests[-1].version == "1.44"
    assert daemon.requests[-1].body == b"tar"


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (404, b'{"message":"No such container: x"}', NotFound, "No such container: x"),
        (409, b'{"message":"in use"}', Conflict, "in use"),
        (500, b"plain\n", DaemonError, "plain"),
        (418, b"", DaemonError, "request returned status 418, check if the daemon supports it"),
    ],
)
def test_errors(
    daemon: FakeDaemon, client: Client, status: int, body: bytes, kind: type[Exception], message: str
) -> None:
    daemon.on("GET", "/containers/x/json", status=status, body=body)
    with pytest.raises(kind) as caught:
        client.inspect("x")
    assert str(caught.value) == f"Error response from daemon: {message}"


def test_answers_that_are_no_documents(daemon: FakeDaemon, client: Client) -> None:
    daemon.on("GET", "/info", body=b"[1]")
    daemon.on("GET", "/version", body=b"<html>")
    with pytest.raises(ConnectionFailed, match="not a JSON object"):
        client.info()
    with pytest.raises(ConnectionFailed, match="not JSON"):
        client.version()


def test_blank_names_never_leave_the_client(client: Client) -> None:
    with pytest.raises(ClientError, match="invalid container name or ID: value is empty"):
        client.start(" ")


def test_query_and_quoting() -> None:
    assert render_query({"a": True, "b": False, "c": None, "d": 0, "e": "x y&", "f": ["1", "2"]}) == (
        "?a=1&d=0&e=x%20y%26&f=1&f=2"
    )
    assert quote("a/b:c@d é", "/:@") == "a/b:c@d%20%C3%A9"
    assert render_filters({"label": ["a=b", "c"], "name": []}) == '{"label":{"a=b":true,"c":true}}'
    assert render_filters({}) is None


@pytest.mark.parametrize("row", table("client/version_compare"), ids=lambda row: f"{row['a']} {row['b']}")
def test_version_order(row: dict[str, object]) -> None:
    a, b = version_key(str(row["a"])), version_key(str(row["b"]))
    assert (a > b) - (a < b) == row["order"]
