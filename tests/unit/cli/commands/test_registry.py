"""pull, push, login and logout: what is asked of the daemon, shown to the user and kept of credentials."""

import base64
import json
import stat
from pathlib import Path

import pytest
from support.command_line import Sampan
from support.fake_daemon import FakeDaemon, Received, Reply

HELPER = """#!/bin/sh
cd "$(dirname "$0")"
case $1 in
    store) cat > kept ;;
    get) cat kept 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
    erase) rm -f kept ;;
esac
"""


def settings(environment: dict[str, str]) -> Path:
    return Path(environment["HOME"]) / ".docker" / "config.json"


def write(environment: dict[str, str], document: object) -> None:
    settings(environment).parent.mkdir(exist_ok=True)
    settings(environment).write_text(json.dumps(document))


def auth_of(request: Received) -> object:
    return json.loads(base64.urlsafe_b64decode(request.headers["x-registry-auth"]))


def stream(*lines: dict[str, object]) -> list[bytes]:
    return [json.dumps(line).encode() + b"\r\n" for line in lines]


def test_pull(daemon: FakeDaemon, sampan: Sampan, environment: dict[str, str]) -> None:
    pair = base64.b64encode(b"me:secret").decode()
    write(environment, {"auths": {"https://index.docker.io/v1/": {"auth": pair}}})
    lines = stream(
        {"status": "Pulling from library/alpine", "id": "latest"},
        {"status": "Downloading", "id": "abc", "progressDetail": {"current": 1, "total": 2}, "progress": "x"},
        {"status": "Pull complete", "id": "abc", "progressDetail": {}},
        {"status": "Status: Downloaded newer image for alpine:latest"},
    )
    daemon.on("POST", "/images/create", chunks=lines)
    done = sampan("pull", "alpine")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "Using default tag: latest",
        "latest: Pulling from library/alpine",
        "abc: Pull complete",
        "Status: Downloaded newer image for alpine:latest",
        "docker.io/library/alpine:latest",
    ]
    (request,) = daemon.seen("POST", "/images/create")
    assert request.query == {"fromImage": "alpine", "tag": "latest"}
    assert auth_of(request) == {
        "username": "me",
        "password": "secret",
        "serveraddress": "https://index.docker.io/v1/",
    }
    assert sampan("pull", "-q", "--platform", "linux/arm64", "reg:5000/a/b@sha256:" + "0" * 64).out == (
        f"reg:5000/a/b@sha256:{'0' * 64}\n"
    )
    request = daemon.requests[-1]
    assert request.query == {
        "fromImage": "reg:5000/a/b",
        "tag": "sha256:" + "0" * 64,
        "platform": "linux/arm64",
    }
    assert auth_of(request) == {}
    assert sampan("pull", "-a", "alpine").out.endswith("\ndocker.io/library/alpine\n")
    assert daemon.requests[-1].query == {"fromImage": "alpine"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pull", "-a", "alpine:3"], "tag can't be used with --all-tags/-a\n"),
        (["push", "-a", "alpine:3"], "tag can't be used with --all-tags/-a\n"),
        (["push", "alpine@sha256:" + "0" * 64], "cannot push a digest reference\n"),
        (
            ["pull", "Alpine"],
            "repository name (library/Alpine) must be lowercase\n",
        ),
        (["login", "-u", "a", "-p", "b", "--password-stdin"], "--password and --password-stdin"),
        (["login", "--password-stdin"], "the --password-stdin option requires --username to be set\n"),
        (["login", "reg"], "Error: Cannot perform an interactive login from a non TTY device\n"),
    ],
)
def test_refused_words(sampan: Sampan, words: list[str], message: str) -> None:
    done = sampan(*words)
    assert done.code == 1
    assert message in done.err


def test_push(daemon: FakeDaemon, sampan: Sampan) -> None:
    lines = stream(
        {"status": "The push refers to repository [reg/a]"},
        {"status": "Pushed", "id": "abc", "progressDetail": {}},
        {"status": "1: digest: sha256:x size: 3"},
        {"progressDetail": {}, "aux": {"Tag": "1"}},
    )
    daemon.on("POST", "/images/reg:5000/a/push", chunks=lines)
    assert sampan("push", "reg:5000/a:1").out.splitlines() == [
        "The push refers to repository [reg/a]",
        "abc: Pushed",
        "1: digest: sha256:x size: 3",
    ]
    assert daemon.requests[-1].query == {"tag": "1"}
    assert sampan("push", "-q", "reg:5000/a").out == "reg:5000/a:latest\n"
    daemon.on("POST", "/images/reg:5000/a/push", chunks=stream({"errorDetail": {"message": "denied: no"}}))
    done = sampan("push", "-a", "reg:5000/a")
    assert (done.code, done.err) == (1, "denied: no\n")
    assert daemon.requests[-1].query == {}


def test_login_and_logout_in_the_file(
    daemon: FakeDaemon, sampan: Sampan, environment: dict[str, str]
) -> None:
    write(environment, {"detachKeys": "ctrl-a", "auths": {"other": {"auth": "eDp5"}}})
    daemon.on("POST", "/auth", json={"Status": "Login Succeeded", "IdentityToken": ""})
    done = sampan("login", "-u", "me", "--password-stdin", "https://reg:5000/v2/", stdin=b"pass:word\r\n")
    assert (done.code, done.out) == (0, "Login Succeeded\n")
    assert f"WARNING! Your credentials are stored unencrypted in '{settings(environment)}'." in done.err
    assert daemon.requests[-1].json == {
        "username": "me",
        "password": "pass:word",
        "serveraddress": "reg:5000",
    }
    kept = json.loads(settings(environment).read_text())
    assert kept["detachKeys"] == "ctrl-a"
    assert kept["auths"]["reg:5000"] == {"auth": base64.b64encode(b"me:pass:word").decode()}
    assert stat.S_IMODE(settings(environment).stat().st_mode) == 0o600
    done = sampan("login", "reg:5000")
    assert done.out == "Authenticating with existing credentials... [Username: me]\nLogin Succeeded\n"
    assert sampan("logout", "reg:5000").out == "Removing login credentials for reg:5000\n"
    assert list(json.loads(settings(environment).read_text())["auths"]) == ["other"]
    assert sampan("logout").out == "Removing login credentials for https://index.docker.io/v1/\n"


def test_an_identity_token_takes_the_passwords_place(
    daemon: FakeDaemon, sampan: Sampan, environment: dict[str, str]
) -> None:
    daemon.on("POST", "/auth", json={"Status": "Login Succeeded", "IdentityToken": "tok"})
    sampan("login", "-u", "me", "-p", "secret")
    entry = json.loads(settings(environment).read_text())["auths"]["https://index.docker.io/v1/"]
    assert entry == {"auth": base64.b64encode(b"me:").decode(), "identitytoken": "tok"}
    daemon.on("POST", "/images/create", chunks=[])
    sampan("pull", "alpine")
    assert auth_of(daemon.requests[-1]) == {
        "username": "me",
        "identitytoken": "tok",
        "serveraddress": "https://index.docker.io/v1/",
    }


@pytest.mark.parametrize("where", ["credsStore", "credHelpers"])
def test_a_program_keeps_the_credentials(
    daemon: FakeDaemon,
    sampan: Sampan,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    program = tmp_path / "bin" / "docker-credential-box"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    write(environment, {where: "box" if where == "credsStore" else {"reg:5000": "box"}})
    daemon.on("POST", "/auth", json={"Status": "Login Succeeded", "IdentityToken": ""})
    done = sampan("login", "-u", "me", "--password-stdin", "reg:5000", stdin=b"secret")
    assert (done.code, done.err) == (0, "")
    kept = json.loads((program.parent / "kept").read_text())
    assert kept == {"ServerURL": "reg:5000", "Username": "me", "Secret": "secret"}
    assert "secret" not in settings(environment).read_text()
    daemon.on("POST", "/images/create", chunks=[])
    sampan("pull", "reg:5000/a")
    assert auth_of(daemon.requests[-1]) == {
        "username": "me",
        "password": "secret",
        "serveraddress": "reg:5000",
    }
    sampan("logout", "reg:5000")
    assert not (program.parent / "kept").exists()
    sampan("pull", "reg:5000/a")
    assert auth_of(daemon.requests[-1]) == {}


def test_a_program_that_is_not_there(daemon: FakeDaemon, sampan: Sampan, environment: dict[str, str]) -> None:
    write(environment, {"credsStore": "nowhere"})
    done = sampan("pull", "reg:5000/a")
    assert done.code == 1
    assert 'exec: "docker-credential-nowhere": executable file not found in $PATH' in done.err


def test_a_login_that_fails(daemon: FakeDaemon, sampan: Sampan, environment: dict[str, str]) -> None:
    daemon.on("POST", "/auth", lambda _request: Reply(401, b'{"message": "unauthorized: no"}'))
    done = sampan("login", "-u", "me", "-p", "x", "reg")
    assert done.code == 1
    assert done.err.endswith("Error response from daemon: unauthorized: no\n")
    assert not settings(environment).exists()
