"""What registries say, without a network: heads, chunks, challenges, credentials, errors, documents."""

import base64
import json

import pytest

from sampan.base.errors import NotFound, NotImplementedHere
from sampan.oci.reference import parse_normalized
from sampan.registry.auth import NOBODY, Credentials, parse_auth_header
from sampan.registry.challenge import Challenge, parse_challenges
from sampan.registry.errors import BadAnswer, InvalidAuth, NotFoundThere, pull_error, refusal
from sampan.registry.http1 import ChunkedDecoder, parse_head, render_request
from sampan.registry.repository import document_type, next_page
from sampan.registry.service import login_host
from sampan.registry.transport import is_same_origin, parse_retry_after

OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def test_a_head() -> None:
    head = parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\n", "GET")
    assert (head.status, head.length, head.chunked, head.keep_alive) == (200, 5, False, True)
    assert head.headers["x-a"] == "1, 2"
    assert parse_head(b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", "HEAD").length == 0
    old = parse_head(b"HTTP/1.0 200 OK\r\n\r\n", "GET")
    assert (old.length, old.keep_alive) == (None, False)
    chunked = parse_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "GET")
    assert (chunked.length, chunked.chunked, chunked.keep_alive) == (None, True, True)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_a_head_that_is_none(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        parse_head(data, "GET")


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_chunks_in_pieces_of_any_size(step: int) -> None:
    data = b"4\r\nWiki\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\nbehind"
    decoder = ChunkedDecoder()
    found = b""
    at = 0
    while not decoder.done:
        found += b"".join(decoder.feed(data[at : at + step]))
        at += step
    assert found == b"Wiki0123456789"
    assert decoder.rest + data[at:] == b"behind"


@pytest.mark.parametrize("data", [b"x\r\n", b"\r\n", b"1\r\nab\r\n", b"-1\r\n", b"f" * 5000])
def test_chunks_that_are_none(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        ChunkedDecoder().feed(data)


def test_no_header_smuggles_a_line() -> None:
    with pytest.raises(ValueError, match="line break"):
        render_request("GET", "/", {"A": "b\r\nC: d"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t?x=1,2",service="r",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://a/t?x=1,2", "service": "r", "scope": "repository:a/b:pull,push"},
                )
            ],
        ),
        (
            'Negotiate, Basic realm="a\\"b" , Bearer realm=t',
            [
                Challenge("negotiate", {}),
                Challenge("basic", {"realm": 'a"b'}),
                Challenge("bearer", {"realm": "t"}),
            ],
        ),
        ("BEARER Realm = x", [Challenge("bearer", {"realm": "x"})]),
        ('Bearer realm="never closed', [Challenge("bearer", {"realm": "never closed"})]),
        ("===", []),
    ],
)
def test_challenges(text: str, expected: list[Challenge]) -> None:
    assert parse_challenges(text) == expected


def encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def test_credentials_in_a_header() -> None:
    assert parse_auth_header("") == NOBODY
    assert parse_auth_header(encoded(None)) == NOBODY
    assert parse_auth_header(encoded({})) == NOBODY
    document = {"username": "a", "password": "ÿ?>", "serveraddress": "r"}
    expected = Credentials("a", "ÿ?>", server_address="r")
    assert parse_auth_header(encoded(document)) == expected
    assert parse_auth_header(encoded(document).rstrip("=")) == expected
    standard = base64.b64encode(json.dumps(document, ensure_ascii=False).encode()).decode()
    assert parse_auth_header(standard) == expected
    pair = base64.b64encode(b"a:b:c").decode()
    assert parse_auth_header(encoded({"auth": pair})) == Credentials("a", "b:c")
    assert parse_auth_header(encoded({"identitytoken": "t"})).identity_token == "t"
    assert "ÿ" not in repr(expected)


@pytest.mark.parametrize("text", ["%%%", "e30", "x", encoded([1]), encoded({"auth": "%"})])
def test_a_header_that_cannot_be_read(text: str) -> None:
    if text == "e30":
        assert parse_auth_header(text) == NOBODY
        return
    with pytest.raises(InvalidAuth, match="invalid X-Registry-Auth header"):
        parse_auth_header(text)


def errors(code: str, words: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": words, "detail": {}}]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (401, errors("UNAUTHORIZED", "authentication required"), "unauthorized: authentication required"),
        (401, b"", "unauthorized: authentication required"),
        (
            401,
            b'{"details":"incorrect username or password"}',
            "unauthorized: incorrect username or password",
        ),
        (429, errors("TOOMANYREQUESTS", "slow down"), "toomanyrequests: slow down"),
        (404, b"404 page not found\n", "error parsing HTTP 404 response body"),
        (500, b"<html>", "received unexpected HTTP status: 500 Internal Server Error"),
        (500, b"[" * 100_000, "received unexpected HTTP status: 500 Internal Server Error"),
    ],
)
def test_errors_in_dockers_words(status: int, body: bytes, text: str) -> None:
    assert str(refusal(status, body)).startswith(text)


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (
            404,
            errors("MANIFEST_UNKNOWN", "manifest unknown"),
            "manifest for a/b:c not found: manifest unknown: manifest unknown",
        ),
        (404, b"nothing", "manifest for a/b:c not found: manifest unknown: manifest unknown"),
        (
            403,
            errors("DENIED", "requested access to the resource is denied"),
            "pull access denied for a/b, repository does not exist or may require 'docker login': "
            "denied: requested access to the resource is denied",
        ),
        (
            404,
            errors("NAME_UNKNOWN", "repository name not known to registry"),
            "repository a/b not found: name unknown: repository name not known to registry",
        ),
    ],
)
def test_a_pulls_errors_in_dockers_words(status: int, body: bytes, text: str) -> None:
    error = pull_error(refusal(status, body), parse_normalized("a/b:c"))
    assert isinstance(error, NotFound | NotFoundThere)
    assert str(error) == text


def test_what_kind_of_document_it_is() -> None:
    assert document_type(OCI, b"{}") == OCI
    assert document_type("application/json", json.dumps({"mediaType": INDEX}).encode()) == INDEX
    assert document_type("", b'{"manifests": []}') == INDEX
    assert document_type("text/plain", b"{}") == OCI
    with pytest.raises(BadAnswer, match="mediaType in manifest should be"):
        document_type(OCI, json.dumps({"mediaType": INDEX}).encode())
    with pytest.raises(BadAnswer, match="cannot be read"):
        document_type(OCI, b"garbage")
    for data in (
        b'{"schemaVersion": 1}',
        b'{"mediaType":"application/vnd.docker.distribution.manifest.v1+json"}',
    ):
        with pytest.raises(NotImplementedHere, match="schema 1 is not supported"):
            document_type("", data)


def test_pages_of_tags() -> None:
    assert next_page('</v2/a/tags/list?n=2&last=b>; rel="next"') == "/v2/a/tags/list?n=2&last=b"
    assert next_page('<x>; rel="prev"') == ""
    assert next_page("") == ""


def test_waiting_as_long_as_the_registry_says() -> None:
    assert parse_retry_after("7") == 7.0
    assert parse_retry_after("") is None
    assert parse_retry_after("soon") is None
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def test_origins() -> None:
    assert is_same_origin("https://a/x", "https://a:443/y")
    assert not is_same_origin("https://a/x", "http://a/x")
    assert not is_same_origin("https://a/x", "https://a:444/x")
    assert not is_same_origin("https://a/x", "https://b/x")
    assert not is_same_origin("https://a/x", "https://a:x/")


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("", "registry-1.docker.io"),
        ("https://index.docker.io/v1/", "registry-1.docker.io"),
        ("docker.io", "registry-1.docker.io"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("https://reg.example.com/v2/", "reg.example.com"),
    ],
)
def test_where_a_login_goes(address: str, host: str) -> None:
    assert login_host(address) == host
