"""The server: versions, routes and the headers of every answer, without services."""

import asyncio
import csv
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest
from support.shared import shared, table
from support.wires import connect, request, settle

from sampan.api.errors import STATUS, error_response, status_of
from sampan.api.response import Response
from sampan.api.router import Router, Routes, split_target
from sampan.api.routes import GROUPS
from sampan.api.server import Server
from sampan.api.services import Services
from sampan.base import errors
from sampan.base.errors import EngineError, InvalidParameter, NotFound, NotModified


def ask(line: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask a server that has no services; return status, headers and body."""

    async def scene() -> bytes:
        connection, transport = connect(Server(cast("Services", None)))
        connection.data_received(request(line, body, **headers))
        await settle()
        return transport.take()

    head, _, content = asyncio.run(scene()).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(entry.split(": ", 1) for entry in lines), content


def message(content: bytes) -> str:
    return str(msgspec.json.decode(content)["message"])


def test_ping_has_what_clients_negotiate_by() -> None:
    status, headers, content = ask("GET /_ping")
    assert (status, content) == (200, b"OK")
    assert headers["Api-Version"] == "1.51"
    assert headers["Ostype"] == "linux"
    assert headers["Docker-Experimental"] == "false"
    assert headers["Builder-Version"] == "1"
    assert headers["Swarm"] == "inactive"
    assert headers["Cache-Control"] == "no-cache, no-store, must-revalidate"
    assert headers["Pragma"] == "no-cache"
    assert headers["Server"].startswith("Sampan/")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    status, headers, content = ask("HEAD /_ping")
    assert (status, headers["Content-Length"], content) == (200, "0", b"")


@pytest.mark.parametrize("version", ["1.24", "1.41", "1.51"])
def test_spoken_versions(version: str) -> None:
    assert ask(f"GET /v{version}/_ping")[0] == 200


def test_other_versions_are_refused_in_dockers_words() -> None:
    status, headers, content = ask("GET /v1.23/_ping")
    assert (status, headers["Content-Type"]) == (400, "application/json")
    assert message(content) == (
        "client version 1.23 is too old. Minimum supported API version is 1.24, "
        "please upgrade your client to a newer version"
    )
    assert message(ask("GET /v1.99/_ping")[2]) == (
        "client version 1.99 is too new. Maximum supported API version is 1.51"
    )


@pytest.mark.parametrize(
    "line",
    [
        "GET /nope",
        "GET /v1.47/nope",
        "GET /v1.99/nope",
        "POST /_ping",
        "PATCH /containers/json",
        "GET /",
        "GET //containers/json",
        "GET /containers//json",
        "GET /vx/_ping",
        "GET /v1.47",
    ],
)
def test_unknown_pages(line: str) -> None:
    status, _, content = ask(line)
    assert (status, message(content)) == (404, "page not found")


def test_options_are_answered() -> None:
    assert ask("OPTIONS /containers/json")[0] == 200
    assert ask("OPTIONS *")[0] == 200


def test_bodies_must_be_json() -> None:
    status, _, content = ask("POST /containers/create", b"{}", Content_Type="text/plain")
    assert (status, message(content)) == (
        400,
        "unsupported Content-Type header (text/plain): must be 'application/json'",
    )
    status, _, content = ask("POST /containers/create", b"{", Content_Type="application/json; charset=utf-8")
    assert (status, message(content)) == (400, "invalid JSON: unexpected EOF")
    status, _, content = ask("POST /containers/create")
    assert (status, message(content)) == (400, "invalid JSON: got EOF while reading request body")


def test_a_start_takes_no_body() -> None:
    status, _, content = ask("POST /containers/x/start", b'{"Binds":[]}', Content_Type="application/json")
    assert status == 400
    assert message(content).startswith("starting container with non-empty request body was deprecated")


def surface() -> Iterator[tuple[str, str]]:
    with shared("data/surface/api_surface.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["tag"] != "Metrics" and not row["path"].startswith(("/debug", "/{any}")):
                yield row["method"], row["path"]


def test_the_whole_surface_has_routes() -> None:
    router = Router(GROUPS)
    filled = {"{id}": "abc", "{name}": "abc", "{any}": "x"}
    for method, path in surface():
        for pattern, value in filled.items():
            path = path.replace(pattern, value)
        assert router.find(method, path) is not None, (method, path)


@pytest.mark.parametrize(
    ("line", "status", "text"),
    [
        ("POST /build", 501, "Building images is not supported by this version of sampan"),
        (
            "GET /nodes",
            503,
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join"',
        ),
        ("POST /swarm/leave", 503, "This node is not part of a swarm"),
    ],
)
def test_what_comes_later_says_so(line: str, status: int, text: str) -> None:
    found, _, content = ask(line)
    assert found == status
    assert message(content).startswith(text)


def test_names_may_hold_slashes_and_escapes() -> None:
    router = Router(GROUPS)

    def names(method: str, target: str) -> dict[str, str]:
        found = router.find(method, split_target(target)[1])
        assert found is not None
        return found[1]

    assert names("GET", "/v1.47/images/reg:5000/a/b:c@sha256:d/json") == {"name": "reg:5000/a/b:c@sha256:d"}
    assert names("GET", "/images/a%2Fb/json?x=1") == {"name": "a/b"}
    assert names("DELETE", "/images/a/json") == {"name": "a/json"}
    assert names("POST", "/containers/a%20b/start") == {"name": "a b"}


def test_literals_win_over_names() -> None:
    routes = Routes()
    for path in ("/x/{name}", "/x/json"):
        routes.add("GET", path, lambda request, services: Response(204))
    found = Router([routes]).find("GET", "/x/json")
    assert found is not None
    assert found[0].path == "/x/json"


CLASSES = {
    "not_found": errors.NotFound,
    "invalid_argument": errors.InvalidParameter,
    "conflict": errors.Conflict,
    "unavailable": errors.Unavailable,
    "permission_denied": errors.Forbidden,
    "unauthorized": errors.Unauthorized,
    "not_modified": errors.NotModified,
    "not_implemented": errors.NotImplementedHere,
    "internal": errors.HostFailure,
}


@pytest.mark.parametrize("row", [r for r in table("engine/http_status") if "error_class" in r], ids=str)
def test_errors_have_dockers_status(row: dict[str, Any]) -> None:
    assert status_of(CLASSES[row["error_class"]]("x")) == row["status"]


def test_the_nearest_ancestor_wins() -> None:
    class Mine(NotFound):
        pass

    assert status_of(Mine("x")) == 404
    assert status_of(EngineError("x")) == 500
    assert status_of(KeyError("x")) == 500
    assert set(STATUS) <= {*errors.EngineError.__subclasses__(), *errors.InvalidParameter.__subclasses__()}


def test_error_answers(caplog: pytest.LogCaptureFixture) -> None:
    assert error_response(InvalidParameter("no")).body == b'{"message":"no"}\n'
    assert error_response(NotModified("x")).body == b""
    response = error_response(KeyError("x"))
    assert (response.status, response.body) == (500, b'{"message":"KeyError: \'x\'"}\n')
    assert "unexpected error" in caplog.text
