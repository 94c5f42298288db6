"""Images go from us to others and back, by registries of every kind and by archives, and stay the same.

The same means: the image ID and the digest of the manifest, on both sides.
"""

import contextlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.container_peers import NAMES, REGISTRY, Peer, find_peer
from support.daemon import CHECKOUT, Daemon
from support.image_archives import layer
from support.images import busybox_layer, docker_archive
from support.pki import make_pki
from support.registries import PASSWORD, USER, DockerRegistry, TokenServer, docker_registry

pytestmark = pytest.mark.root
Cli = Callable[..., subprocess.CompletedProcess[str]]


def load(daemon: Daemon, name: str, *layers: bytes) -> str:
    """Put in an image with a name of this test's own; return its ID."""
    client = daemon.client()
    try:
        client.images.load(docker_archive(name, list(layers), {"Cmd": ["sh"]}))
        return str(client.images.get(name).id)
    finally:
        client.close()


def image_id(daemon: Daemon, name: str) -> str:
    return str(daemon.cli("image", "inspect", "--format", "{{.Id}}", name).stdout.strip())


def digests(daemon: Daemon, name: str) -> list[str]:
    text = daemon.cli("image", "inspect", "--format", "{{json .RepoDigests}}", name).stdout
    return [each.partition("@")[2] for each in json.loads(text)]


@contextlib.contextmanager
def changed_etc(folder: Path) -> Iterator[None]:
    """Let ``/etc`` be changed for the processes here, and for nobody else."""
    for name in ("upper", "work"):
        (folder / name).mkdir()
    options = f"lowerdir=/etc,upperdir={folder}/upper,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, "/etc"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", "/etc"], check=True)


@contextlib.contextmanager
def registry_of(kind: str, folder: Path) -> Iterator[tuple[DockerRegistry, list[str]]]:
    """Yield a registry, and the options with which skopeo reaches it."""
    login = ["--creds", f"{USER}:{PASSWORD}"]
    if kind == "plain":
        with docker_registry(folder / "r", "127.0.0.1:5031") as registry:
            yield registry, []
    elif kind == "password":
        with docker_registry(folder / "r", "127.0.0.1:5032", htpasswd=True) as registry:
            yield registry, login
    elif kind == "token":
        with (
            TokenServer(folder / "tokens") as tokens,
            docker_registry(folder / "r", "127.0.0.1:5033", **tokens.registry_options()) as registry,
        ):
            yield registry, login
    else:
        pki, host = make_pki(folder / "pki"), "198.51.100.1:5034"
        with changed_etc(folder), docker_registry(folder / "r", host, tls=pki, htpasswd=True) as registry:
            trusted = Path("/etc/docker/certs.d") / host
            trusted.mkdir(parents=True)
            shutil.copy(pki / "ca.pem", trusted / "ca.crt")
            yield registry, login


@pytest.mark.parametrize("program", ["docker", "sampan"])
@pytest.mark.parametrize("kind", ["plain", "tls", "password", "token"])
def test_registries_of_every_kind(docker_cli: Daemon, tmp_path: Path, kind: str, program: str) -> None:
    path = program if program == "docker" else str(CHECKOUT / "bin" / "sampan")

    def cli(*words: str, stdin: str | None = None) -> str:
        return docker_cli.cli(*words, program=(path,), input=stdin).stdout

    with registry_of(kind, tmp_path) as (registry, shown):
        name = f"{registry.host}/exchange/{program}"
        if kind != "plain":
            login = cli("login", "-u", USER, "--password-stdin", registry.host, stdin=PASSWORD)
            assert "Login Succeeded" in login
        image = load(docker_cli, f"{name}:1", layer(f"etc/{kind}"))
        cli("push", f"{name}:1")
        (digest,) = digests(docker_cli, f"{name}:1")
        cli("rmi", f"{name}:1")
        cli("pull", f"{name}@{digest}")
        assert image_id(docker_cli, f"{name}@{digest}") == image
        cli("pull", f"{name}:1")
        assert image_id(docker_cli, f"{name}:1") == image
        if shutil.which("skopeo"):
            _goes_by_skopeo(docker_cli, cli, tmp_path, name, (image, digest), shown)
        cli("rmi", "-f", image)
        if kind != "plain":
            cli("logout", registry.host)


def _goes_by_skopeo(
    daemon: Daemon,
    cli: Callable[..., str],
    folder: Path,
    name: str,
    expected: tuple[str, str],
    shown: list[str],
) -> None:
    """What we have pushed skopeo reads, and copies within the registry; the copy is the same to us."""
    trust = ["--tls-verify=false"] if not (folder / "pki").exists() else ["--cert-dir", str(folder / "trust")]
    if (folder / "pki").exists():
        (folder / "trust").mkdir(exist_ok=True)
        shutil.copy(folder / "pki" / "ca.pem", folder / "trust" / "ca.crt")

    def skopeo(*words: str) -> str:
        command = ["skopeo", "--insecure-policy", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    image, digest = expected
    found = json.loads(skopeo("inspect", *trust, *shown, f"docker://{name}:1"))
    assert found["Digest"] == digest
    both = [option.replace("--", f"--{side}-") for side in ("src", "dest") for option in (*trust, *shown)]
    skopeo("copy", *both, "--preserve-digests", f"docker://{name}:1", f"docker://{name}:2")
    cli("pull", f"{name}:2")
    assert image_id(daemon, f"{name}:2") == image
    assert digests(daemon, f"{name}:2") == [digest]
    cli("rmi", f"{name}:2")


@pytest.fixture(params=NAMES)
def peer(request: pytest.FixtureRequest) -> Peer:
    return find_peer(request.param)


@pytest.fixture
def between(peer: Peer, tmp_path: Path) -> Iterator[str]:
    """A registry on the peer's data, beside our daemon; what stands before the names of a test's images."""
    registry = DockerRegistry(tmp_path, REGISTRY)
    peer.registry_data.mkdir(exist_ok=True)
    (tmp_path / "data").symlink_to(peer.registry_data)
    try:
        registry.start()
        yield f"{REGISTRY}/exchange-{uuid.uuid4().hex[:8]}"
    finally:
        registry.stop()


def test_a_peer_pulls_what_we_pushed(docker_cli: Daemon, peer: Peer, between: str) -> None:
    name = f"{between}/ours:1"
    image = load(docker_cli, name, busybox_layer(), layer("etc/ours"))
    docker_cli.cli("push", "-q", name)
    try:
        peer.insecurely("pull", name)
        assert peer.image_id(name) == image
        assert digests(docker_cli, name)[0] in peer.digests(name)
        peer.cli("rmi", name)
    finally:
        docker_cli.cli("rmi", name)


def test_we_pull_what_a_peer_pushed(docker_cli: Daemon, peer: Peer, between: str, tmp_path: Path) -> None:
    name = f"{between}/theirs:1"
    archive = peer.shared / f"{uuid.uuid4().hex}.tar"
    archive.write_bytes(docker_archive(name, [busybox_layer(), layer("etc/theirs")], {"Cmd": ["sh"]}))
    try:
        peer.cli("load", "-i", str(archive))
        peer.insecurely("push", name)
        image, known = peer.image_id(name), peer.digests(name)
        peer.cli("rmi", name)
    finally:
        archive.unlink()
    docker_cli.cli("pull", name)
    assert image_id(docker_cli, name) == image
    if not peer.is_podman:  # podman's local digest is of a manifest that it did not push
        assert digests(docker_cli, name) == known
    done = docker_cli.cli("run", "--rm", "--network", "none", name, "cat", "/etc/theirs")
    assert done.stdout == "etc/theirs"
    # and back, byte for byte
    copy = f"{between}/back:1"
    docker_cli.cli("tag", name, copy)
    docker_cli.cli("push", "-q", copy)
    peer.insecurely("pull", copy)
    assert peer.image_id(copy) == image
    assert digests(docker_cli, name)[0] in peer.digests(copy)
    peer.cli("rmi", copy)
    docker_cli.cli("rmi", name, copy)


def test_archives_go_both_ways(docker_cli: Daemon, peer: Peer) -> None:
    name, marks = f"localhost/exchange-{uuid.uuid4().hex[:8]}:1", [layer("etc/a"), layer("etc/b")]
    image = load(docker_cli, name, *marks)
    ours, theirs = (peer.shared / f"{uuid.uuid4().hex}.tar" for _ in range(2))
    try:
        docker_cli.cli("save", "-o", str(ours), name)
        peer.cli("load", "-i", str(ours))
        assert peer.image_id(name) == image
        peer.cli("save", "-o", str(theirs), name)
        peer.cli("rmi", name)
        docker_cli.cli("rmi", name)
        docker_cli.cli("load", "-i", str(theirs))
        assert image_id(docker_cli, name) == image
        docker_cli.cli("rmi", name)
    finally:
        ours.unlink(missing_ok=True)
        theirs.unlink(missing_ok=True)
