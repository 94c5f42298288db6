"""docker-registry and ours: our daemon, Docker's client, ours and skopeo exchange images through both."""

import contextlib
import json
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from support.daemon import Daemon, sampan
from support.fault_registry import Asked, FaultRegistry, Reply
from support.image_archives import config, digest, layer, oci_index, oci_layout, oci_manifest, tar
from support.images import busybox_archive, docker_archive, load_busybox
from support.pki import make_pki
from support.plain_http import unix
from support.pull_lab import PullLab
from support.registries import PASSWORD, USER, Registry, TokenServer, docker_registry
from support.registry_server import sampan_registry

from sampan.base.errors import EngineError
from sampan.registry.auth import Credentials
from sampan.registry.errors import BadCertificate
from sampan.registry.settings import RegistrySettings

pytestmark = pytest.mark.root


BOTH: dict[str, Any] = {"docker-registry": docker_registry, "sampan": sampan_registry}


@pytest.fixture(scope="module", params=BOTH)
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with BOTH[request.param](tmp_path_factory.mktemp("plain"), "127.0.0.1:5001") as registry:
        yield registry


@pytest.fixture(scope="module", params=BOTH)
def secret(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("secret")
    with BOTH[request.param](folder, "127.0.0.1:5002", htpasswd=True) as registry:
        yield registry


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Our registry, where it is the daemon that is tested."""
    with sampan_registry(tmp_path_factory.mktemp("ours"), "127.0.0.1:5005") as registry:
        yield registry


@pytest.fixture
def images(client: docker.DockerClient) -> Iterator[None]:
    """Whatever images a test brings in are gone afterwards."""
    before = {image.id for image in client.images.list(all=True)}
    tags = {tag for image in client.images.list() for tag in image.tags}
    yield
    for image in client.images.list(all=True):
        for tag in image.tags:
            if tag not in tags:
                client.images.remove(tag)
        if image.id not in before:
            with contextlib.suppress(docker.errors.ImageNotFound):
                client.images.remove(image.id, force=True)


def skopeo(*words: str) -> str:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    return subprocess.run(
        ["skopeo", "--insecure-policy", *words], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def manifest_digest(registry: Registry, name: str, tag: str) -> str:
    return str(
        json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/{name}:{tag}"))[
            "Digest"
        ]
    )


@pytest.mark.usefixtures("images")
def test_dockers_client_pushes_and_pulls(
    daemon: Daemon, client: docker.DockerClient, plain: Registry
) -> None:
    name = f"{plain.host}/docker/box:1"
    image = client.images.get("busybox:latest").id
    daemon.cli("tag", "busybox:latest", name)
    pushed = daemon.cli("push", name).stdout
    assert f"The push refers to repository [{plain.host}/docker/box]" in pushed
    assert ": Pushed" in pushed
    assert ": Layer already exists" in daemon.cli("push", name).stdout
    daemon.cli("tag", "busybox:latest", f"{plain.host}/docker/copy:1")
    assert ": Mounted from docker/box" in daemon.cli("push", f"{plain.host}/docker/copy:1").stdout
    found = manifest_digest(plain, "docker/box", "1")
    assert f"digest: {found} size:" in pushed
    client.images.remove("busybox:latest")
    for tag in (name, f"{plain.host}/docker/copy:1"):
        client.images.remove(tag)
    pulled = daemon.cli("pull", name).stdout
    assert "1: Pulling from docker/box" in pulled
    assert f"Digest: {found}\nStatus: Downloaded newer image for {name}\n{name}\n" in pulled
    assert client.images.get(name).id == image
    assert client.images.get(name).attrs["RepoDigests"] == [f"{plain.host}/docker/box@{found}"]
    assert f"Status: Image is up to date for {name}" in daemon.cli("pull", name).stdout
    assert daemon.cli("run", "--rm", "--network", "none", name, "echo", "hello").stdout == "hello\n"
    by_digest = f"{plain.host}/docker/box@{found}"
    assert daemon.cli("pull", "-q", by_digest).stdout == f"{by_digest}\n"
    daemon.cli("tag", name, "busybox:latest")


@pytest.mark.usefixtures("images")
def test_our_client_pushes_pulls_and_runs(daemon: Daemon, plain: Registry) -> None:
    name = f"{plain.host}/ours/box"
    sampan(daemon, "tag", "busybox:latest", name)
    pushed = sampan(daemon, "push", name).stdout
    assert pushed.startswith("Using default tag: latest\nThe push refers to repository [")
    sampan(daemon, "tag", "busybox:latest", f"{name}:two")
    assert "two: digest: sha256:" in sampan(daemon, "push", "-a", name).stdout
    sampan(daemon, "rmi", name, f"{name}:two")
    done = sampan(daemon, "run", "--rm", "--network", "none", name, "echo", "hello")
    assert done.stdout == "hello\n"
    assert f"Unable to find image '{name}:latest' locally\nlatest: Pulling from ours/box" in done.stderr
    assert sampan(daemon, "pull", "-q", "-a", name).stdout == f"{name}\n"
    assert sampan(daemon, "images", "-q", name).stdout.count("\n") == 2


@pytest.mark.usefixtures("images")
def test_what_is_not_there(daemon: Daemon, client: docker.DockerClient, plain: Registry) -> None:
    with pytest.raises(docker.errors.NotFound) as caught:
        client.images.pull(f"{plain.host}/no/such", tag="1")
    assert caught.value.explanation == (
        f"manifest for {plain.host}/no/such:1 not found: manifest unknown: manifest unknown"
    )
    failed = daemon.cli("pull", "127.0.0.1:5099/x:1", check=False).stderr
    assert 'Get "http://127.0.0.1:5099/v2/": dial tcp 127.0.0.1:5099: connect: connection refused' in failed
    failed = daemon.cli("push", f"{plain.host}/no/such:1", check=False).stderr
    assert failed == f"An image does not exist locally with the tag: {plain.host}/no/such\n"


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("form", ["v2s2", "oci"])
def test_skopeo_and_we_agree_on_every_digest(
    daemon: Daemon, client: docker.DockerClient, plain: Registry, tmp_path: Path, form: str
) -> None:
    (tmp_path / "box.tar").write_bytes(busybox_archive("box:1"))
    theirs = f"docker://{plain.host}/skopeo/{form}:1"
    skopeo("copy", "--dest-tls-verify=false", "-f", form, f"docker-archive:{tmp_path}/box.tar", theirs)
    found = manifest_digest(plain, f"skopeo/{form}", "1")
    text = json.loads(skopeo("inspect", "--tls-verify=false", "--raw", theirs))
    daemon.cli("pull", f"{plain.host}/skopeo/{form}:1")
    image = client.images.get(f"{plain.host}/skopeo/{form}:1")
    assert image.id == text["config"]["digest"]
    assert image.attrs["RepoDigests"] == [f"{plain.host}/skopeo/{form}@{found}"]
    daemon.cli("tag", f"{plain.host}/skopeo/{form}:1", f"{plain.host}/back/{form}:1")
    daemon.cli("push", f"{plain.host}/back/{form}:1")
    assert manifest_digest(plain, f"back/{form}", "1") == found
    registry_data = client.images.get_registry_data(f"{plain.host}/back/{form}:1")
    assert registry_data.id == found
    assert registry_data.has_platform("linux/amd64")


@pytest.mark.usefixtures("images")
def test_an_image_for_several_platforms(
    daemon: Daemon, client: docker.DockerClient, plain: Registry, tmp_path: Path
) -> None:
    made = {}
    blobs = []
    entries = []
    for architecture, variant in (("amd64", ""), ("arm64", "v8")):
        data = layer(f"for/{architecture}")
        text = config([data], architecture=architecture, variant=variant)
        document = oci_manifest(text, [data])
        made[architecture] = digest(text)
        blobs += [data, text, document]
        platform = {"architecture": architecture, "os": "linux", "variant": variant}
        entries.append(
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest(document),
                "size": len(document),
                "platform": platform,
            }
        )
    index = oci_index(*entries)
    kind = "application/vnd.oci.image.index.v1+json"
    top = oci_index(
        {
            "mediaType": kind,
            "digest": digest(index),
            "size": len(index),
            "annotations": {"org.opencontainers.image.ref.name": "m"},
        }
    )
    (tmp_path / "m.tar").write_bytes(oci_layout(top, index, *blobs))
    theirs = f"docker://{plain.host}/multi:1"
    skopeo(
        "copy",
        "--all",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci-archive:{tmp_path}/m.tar:m",
        theirs,
    )
    name = f"{plain.host}/multi:1"
    for wanted, architecture in (("linux/amd64", "amd64"), ("linux/arm64", "arm64")):
        daemon.cli("pull", "--platform", wanted, name)
        assert client.images.get(name).id == made[architecture]
    failed = daemon.cli("pull", "--platform", "linux/s390x", name, check=False).stderr
    assert "no matching manifest for linux/s390x in the manifest list entries" in failed
    found = client.images.get_registry_data(name)
    assert found.id == digest(index)
    assert [each["architecture"] for each in found.attrs["Platforms"]] == ["amd64", "arm64"]
    # an index that came whole is pushed whole
    client.images.load(oci_layout(top, index, *blobs))
    for image in (made["amd64"],):
        daemon.cli("tag", image, f"{plain.host}/whole:1")
    daemon.cli("push", f"{plain.host}/whole:1")
    assert manifest_digest(plain, "whole", "1") == digest(index)


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("program", ["docker", "sampan"])
def test_names_and_passwords(daemon: Daemon, secret: Registry, program: str) -> None:
    def cli(*words: str, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
        if program == "docker":
            return daemon.cli(*words, check=check, **options)  # type: ignore[arg-type]
        return sampan(daemon, *words, check=check, **options)

    name = f"{secret.host}/{program}/box:1"
    cli("tag", "busybox:latest", name)
    assert "no basic auth credentials" in cli("push", name, check=False).stderr
    wrong = cli("login", "-u", USER, "--password-stdin", secret.host, input="wrong\n", check=False)
    assert wrong.returncode == 1
    assert f"login attempt to http://{secret.host}/v2/ failed with status: 401 Unauthorized" in wrong.stderr
    done = cli("login", "-u", USER, "--password-stdin", secret.host, input=f"{PASSWORD}\n")
    assert "Login Succeeded" in done.stdout
    kept = json.loads((daemon.folder / ".docker/config.json").read_text())
    assert list(kept["auths"]) == [secret.host]
    assert ": Pushed" in cli("push", name).stdout or "already exists" in cli("push", name).stdout
    cli("rmi", name)
    assert "Status: Downloaded newer image" in cli("pull", name).stdout
    assert f"Removing login credentials for {secret.host}" in cli("logout", secret.host).stdout
    failed = cli("pull", name, check=False).stderr
    assert f'Get "http://{secret.host}/v2/": no basic auth credentials' in failed


@pytest.mark.usefixtures("images")
def test_tokens(daemon: Daemon, tmp_path: Path) -> None:
    with (
        TokenServer(tmp_path / "tokens") as tokens,
        docker_registry(tmp_path / "reg", "127.0.0.1:5003", **tokens.registry_options()) as registry,
    ):
        public, private = f"{registry.host}/public/box:1", f"{registry.host}/private/box:1"
        for name in (public, private):
            daemon.cli("tag", "busybox:latest", name)
        failed = daemon.cli("push", public, check=False).stderr
        assert "denied" in failed or "unauthorized" in failed
        wrong = daemon.cli(
            "login", "-u", USER, "--password-stdin", registry.host, input="wrong", check=False
        ).stderr
        assert "unauthorized: incorrect username or password" in wrong
        daemon.cli("login", "-u", USER, "--password-stdin", registry.host, input=PASSWORD)
        for name in (public, private):
            daemon.cli("push", name)
        assert any(
            "repository:private/box:push,pull" in query.get("scope", []) and query.get("account") == [USER]
            for query in tokens.asked
        )
        daemon.cli("logout", registry.host)
        assert "Image is up to date" in daemon.cli("pull", public).stdout
        failed = daemon.cli("pull", private, check=False).stderr
        assert "unauthorized: authentication required" in failed or "denied" in failed


@pytest.mark.parametrize("kind", BOTH)
def test_certificates(tmp_path: Path, kind: str) -> None:
    pki = make_pki(tmp_path / "pki")
    host = "198.51.100.1:5443"
    (tmp_path / "lab").mkdir()
    lab = PullLab(tmp_path / "lab", RegistrySettings(certificates=(tmp_path / "certs.d",)))
    archive = tmp_path / "box.tar"
    archive.write_bytes(busybox_archive("box:1"))
    with BOTH[kind](tmp_path / "reg", host, tls=pki, htpasswd=True):
        with pytest.raises(BadCertificate) as caught:
            lab.pull(f"{host}/box:1")
        assert str(caught.value) == (
            f'Get "https://{host}/v2/": tls: failed to verify certificate: '
            "x509: certificate signed by unknown authority"
        )
        folder = tmp_path / "certs.d" / host
        folder.mkdir(parents=True)
        shutil.copy(pki / "ca.pem", folder / "ca.crt")
        credentials = Credentials(USER, PASSWORD)
        with pytest.raises(EngineError, match=f'Get "https://{host}/v2/": no basic auth credentials'):
            lab.pull(f"{host}/box:1")
        lab.load(archive.read_bytes())
        lab.run(lambda images: images.tag("box:1", f"{host}/box", "1"))
        lab.push(f"{host}/box", "1", credentials=credentials)
        lab.remove_all()
        lab.pull(f"{host}/box:1", credentials=credentials)
        assert len(lab.images()) == 1
        (folder / "x.cert").write_bytes((pki / "client-cert.pem").read_bytes())
        with pytest.raises(EngineError, match=r"missing key x\.key for client certificate x\.cert"):
            lab.pull(f"{host}/box:1", credentials=credentials)
        shutil.rmtree(folder)
        lab.settings = RegistrySettings.parse(insecure=[host])
        lab.pull(f"{host}/box:1", credentials=credentials)


@pytest.mark.parametrize("kind", BOTH)
def test_a_pull_through_cache_as_mirror(ours: Registry, tmp_path: Path, kind: str) -> None:
    (tmp_path / "box.tar").write_bytes(busybox_archive("box:1"))
    target = f"docker://{ours.host}/library/box:1"
    skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{tmp_path}/box.tar", target)
    url = f"http://{ours.host}"
    with (
        docker_registry(tmp_path / "cache", "127.0.0.1:5004", proxy={"remoteurl": url})
        if kind == "docker-registry"
        else sampan_registry(tmp_path / "cache", "127.0.0.1:5004", f"--proxy={url}")
    ) as cache:
        (tmp_path / "lab").mkdir()
        lab = PullLab(tmp_path / "lab", RegistrySettings.parse(mirrors=[f"http://{cache.host}"]))
        said = lab.pull("box:1")
        assert said[0] == "1: Pulling from library/box"
        assert said[-1] == "Status: Downloaded newer image for box:1"


@pytest.mark.parametrize("point", ["images.pull.batch", "images.pull.settled", "images.install.row"])
def test_a_daemon_killed_in_a_pull(own_daemon: Daemon, ours: Registry, point: str) -> None:
    name = f"{ours.host}/killed/box:1"
    own_daemon.cli("tag", "busybox:latest", name)
    own_daemon.cli("push", name)
    own_daemon.cli("rmi", name, "busybox:latest")
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": f"{point}=kill"})
    assert own_daemon.cli("pull", name, check=False).returncode
    assert own_daemon.wait() == -9
    own_daemon.start(environment={"SAMPAN_FAULTS": ""})
    assert own_daemon.cli("images", "-q").stdout == ""
    assert "Status: Downloaded newer image" in own_daemon.cli("pull", name).stdout
    assert own_daemon.cli("run", "--rm", "--network", "none", name, "echo", "x").stdout == "x\n"
    assert list((own_daemon.data_root / "content/partial").iterdir()) == []
    load_busybox(own_daemon)


def test_memory_does_not_grow_with_the_image(own_daemon: Daemon, ours: Registry) -> None:
    big = tar([(f"big{n}", random.Random(n).randbytes(32 << 20)) for n in range(4)])  # noqa: S311
    name = f"{ours.host}/big/box:1"
    client = own_daemon.client()
    try:
        client.images.load(docker_archive(name, [big], {}))
    finally:
        client.close()
    own_daemon.stop()
    own_daemon.start()
    own_daemon.cli("push", "-q", name)
    own_daemon.cli("rmi", name)
    own_daemon.cli("pull", "-q", name)
    status = Path(f"/proc/{own_daemon.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
    assert peak < 100 << 20
    own_daemon.cli("rmi", name)


def test_a_client_that_goes_away_stops_the_pull(own_daemon: Daemon, tmp_path: Path) -> None:
    with FaultRegistry() as registry:
        image = registry.add_image("a/b", "1", [layer("x"), layer("y")])
        gone = threading.Event()

        def hang(asked: Asked) -> Reply:
            gone.wait(20)
            return Reply(cut=10)

        registry.fault("GET", f"/v2/a/b/blobs/{image.layers[1]}", hang)
        with unix(own_daemon) as client:
            client.ask(f"POST /images/create?fromImage={registry.host}/a/b&tag=1")
            text = b""
            while b"Pulling fs layer" not in text:
                text += client.connection.recv(65536)
        gone.set()
        registry._faults.clear()
        pulled = own_daemon.cli("pull", f"{registry.host}/a/b:1").stdout
        assert "Downloaded newer image" in pulled
        own_daemon.cli("rmi", f"{registry.host}/a/b:1")
