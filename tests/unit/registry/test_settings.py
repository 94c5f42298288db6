"""Registries in the daemon's settings, by the tables of dockerd's own tests; proxies by Go's rules."""

from typing import Any

import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.registry.proxies import Proxy, find_proxy
from sampan.registry.settings import (
    RegistrySettings,
    mirror_endpoint,
    parse_index_name,
    parse_insecure,
    parse_mirror,
)


@pytest.mark.parametrize("row", table("registry/insecure"), ids=str)
def test_insecure_registries(row: dict[str, Any]) -> None:
    if "error_contains" in row:
        with pytest.raises(InvalidParameter) as caught:
            parse_insecure(row["input"])
        assert row["error_contains"] in str(caught.value)
    else:
        assert parse_insecure(row["input"]) == row["host"]


@pytest.mark.parametrize("row", table("registry/mirror"), ids=str)
def test_mirrors(row: dict[str, Any]) -> None:
    if "error" in row:
        with pytest.raises(InvalidParameter) as caught:
            parse_mirror(row["input"])
        assert str(caught.value) == row["error"]
    else:
        assert parse_mirror(row["input"]) == row["output"]


@pytest.mark.parametrize("row", table("registry/index_name"), ids=str)
def test_index_names(row: dict[str, Any]) -> None:
    if "error" in row:
        with pytest.raises(InvalidParameter) as caught:
            parse_index_name(row["input"])
        assert str(caught.value) == row["error"]
    else:
        assert parse_index_name(row["input"]) == row["output"]


@pytest.mark.parametrize(
    ("host", "addresses", "insecure"),
    [
        ("127.0.0.1:5000", (), True),
        ("127.9.9.9", (), True),
        ("[::1]:5000", (), True),
        ("localhost:5000", ("127.0.0.1",), True),
        ("reg.example.com", ("203.0.113.5",), False),
        ("reg.example.com", ("10.1.1.1",), True),
        ("named", (), True),
        ("named:5000", (), False),
    ],
)
def test_who_needs_no_certificate(host: str, addresses: tuple[str, ...], insecure: bool) -> None:
    settings = RegistrySettings.parse(insecure=["10.0.0.0/8", "named"])
    assert settings.is_insecure(host, addresses) is insecure


def test_a_mirror_keeps_its_scheme_and_path() -> None:
    settings = RegistrySettings.parse(mirrors=["https://m.example.com/hub", "http://127.0.0.1:5000"])
    first, second = (mirror_endpoint(url, settings) for url in settings.mirrors)
    assert (first.host, first.schemes, first.prefix, first.verify) == (
        "m.example.com",
        ("https",),
        "/hub",
        True,
    )
    assert (second.schemes, second.prefix, second.verify) == (("http",), "", False)


@pytest.mark.parametrize(
    ("scheme", "host", "port", "environment", "expected"),
    [
        ("https", "a.example.com", 443, {"HTTPS_PROXY": "http://p:3128"}, Proxy("p", 3128)),
        ("https", "a.example.com", 443, {"https_proxy": "u:%40@p:1"}, Proxy("p", 1, "u:@")),
        ("http", "a.example.com", 80, {"HTTPS_PROXY": "http://p:3128"}, None),
        ("https", "localhost", 443, {"HTTPS_PROXY": "p"}, None),
        ("https", "127.0.0.1", 443, {"HTTPS_PROXY": "p"}, None),
        ("https", "a.example.com", 443, {"HTTPS_PROXY": "p", "NO_PROXY": "x, example.com"}, None),
        ("https", "example.com", 443, {"HTTPS_PROXY": "p", "NO_PROXY": ".example.com"}, Proxy("p", 80)),
        (
            "https",
            "a.example.com",
            443,
            {"HTTPS_PROXY": "p", "NO_PROXY": "a.example.com:5000"},
            Proxy("p", 80),
        ),
        ("https", "10.1.2.3", 443, {"HTTPS_PROXY": "p", "NO_PROXY": "10.0.0.0/8"}, None),
        ("https", "10.1.2.3", 443, {"HTTPS_PROXY": "p", "NO_PROXY": "*"}, None),
    ],
)
def test_proxies(
    scheme: str, host: str, port: int, environment: dict[str, str], expected: Proxy | None
) -> None:
    assert find_proxy(scheme, host, port, environment) == expected


def test_a_bad_proxy_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="only http:// proxies"):
        find_proxy("http", "x", 80, {"HTTP_PROXY": "socks5://p"})
