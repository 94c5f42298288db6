"""Which daemon is meant: flags, variables, contexts, defaults; and the settings file."""

import json
from pathlib import Path

import pytest
from support.contexts import save_context

from sampan.client.config import Config, config_directory, context_name, find_endpoint, is_default, tls_files
from sampan.client.contexts import ContextStore, valid_name
from sampan.client.errors import ClientError


def test_nothing_said_means_our_own_socket(tmp_path: Path) -> None:
    endpoint = find_endpoint({}, Config(str(tmp_path)))
    assert endpoint.host == "unix:///run/sampan/sampan.sock"
    assert is_default(endpoint)


@pytest.mark.parametrize(
    ("environ", "host", "expected"),
    [
        ({"DOCKER_HOST": "tcp://d:1"}, "", "tcp://d:1"),
        ({"DOCKER_HOST": "tcp://d:1", "SAMPAN_HOST": "tcp://s:1"}, "", "tcp://s:1"),
        ({"DOCKER_HOST": "tcp://d:1", "DOCKER_CONTEXT": "c"}, "", "tcp://d:1"),
        ({"DOCKER_HOST": "tcp://d:1", "DOCKER_CONTEXT": "c"}, "unix:///x", "unix:///x"),
        ({"DOCKER_CONTEXT": "c"}, "", "tcp://context:1"),
    ],
)
def test_order_of_sources(tmp_path: Path, environ: dict[str, str], host: str, expected: str) -> None:
    save_context(tmp_path, "c", "tcp://context:1")
    assert find_endpoint(environ, Config(str(tmp_path)), host=host).host == expected


def test_current_context_of_the_settings(tmp_path: Path) -> None:
    save_context(tmp_path, "far", "tcp://far:1", tls=True)
    (tmp_path / "config.json").write_text('{"currentContext": "far"}')
    endpoint = find_endpoint({}, Config(str(tmp_path)))
    assert endpoint.host == "tcp://far:1"
    assert endpoint.tls is not None
    assert endpoint.tls.ca.endswith("/docker/ca.pem")
    assert endpoint.tls.cert == ""
    assert context_name({}, Config(str(tmp_path)), host="unix:///x") == "default"


def test_missing_context(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r'context "gone": context not found: open .*: no such file'):
        find_endpoint({}, Config(str(tmp_path)), context="gone")


def test_host_and_context_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="cannot specify both --host and --context"):
        find_endpoint({}, Config(str(tmp_path)), host="tcp://x:1", context="c")


def test_listing(tmp_path: Path) -> None:
    save_context(tmp_path, "b", "tcp://b:1")
    save_context(tmp_path, "a", "tcp://a:1", skip_verify=True)
    (tmp_path / "contexts/meta/broken").mkdir()
    contexts = ContextStore(str(tmp_path)).list_contexts()
    assert [(c.name, c.host, c.description, c.skip_verify) for c in contexts] == [
        ("a", "tcp://a:1", "a!", True),
        ("b", "tcp://b:1", "b!", False),
    ]


@pytest.mark.parametrize(
    ("name", "good"), [("ab", True), ("a", False), ("default", False), ("-x", False), ("a b", False)]
)
def test_names(name: str, good: bool) -> None:
    assert valid_name(name) is good


def test_tls_variables_and_flags(tmp_path: Path) -> None:
    config = Config(str(tmp_path))
    assert tls_files({}, config) is None
    files = tls_files({"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}, config)
    assert files is not None
    assert (files.ca, files.cert, files.verify) == ("/certs/ca.pem", "", True)
    files = tls_files({}, config, {"tls": True, "tlscert": "/c.pem"})
    assert files is not None
    assert (files.ca, files.cert, files.key, files.verify) == ("", "/c.pem", "", False)
    endpoint = find_endpoint({"DOCKER_TLS_VERIFY": "1"}, config, host="unix:///x")
    assert endpoint.tls is None


def test_settings_folder() -> None:
    assert config_directory({"HOME": "/home/me/"}) == "/home/me/.docker"
    assert config_directory({"HOME": "/h", "DOCKER_CONFIG": "/etc/d"}) == "/etc/d"
    assert config_directory({"DOCKER_CONFIG": "/etc/d"}, "/given") == "/given"


def test_broken_settings_are_a_problem_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{nope")
    config = Config(str(tmp_path))
    assert "config.json" in config.problem
    assert config.text("detachKeys") == ""


def test_saving_keeps_what_is_not_ours_and_follows_links(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    real.write_text('{"auths": {"r": {}}, "HttpHeaders": {"X-A": "1"}}')
    (tmp_path / "config.json").symlink_to(real)
    config = Config(str(tmp_path))
    config.data["currentContext"] = "x"
    config.save()
    assert json.loads(real.read_text()) == {
        "auths": {"r": {}},
        "HttpHeaders": {"X-A": "1"},
        "currentContext": "x",
    }
    assert (tmp_path / "config.json").is_symlink()
    assert Config(str(tmp_path)).headers() == {"X-A": "1"}
