"""What a course about Docker says, line by line with Docker's own command line: images and registries."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon, running_daemon
from support.images import busybox_archive, load_busybox
from support.registries import PASSWORD, USER, docker_registry

pytestmark = pytest.mark.root
REGISTRY = "localhost:5041"


@pytest.fixture
def student(docker_cli: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon without images, whose Docker Hub is a registry here with ``alpine:3.20`` in it."""
    with (
        docker_registry(tmp_path / "hub", "127.0.0.1:5040") as hub,
        docker_registry(tmp_path / "private", "127.0.0.1:5041", htpasswd=True),
    ):
        name = f"{hub.host}/library/alpine:3.20"
        load_busybox(docker_cli, name)
        docker_cli.cli("push", "-q", name)
        docker_cli.cli("rmi", name)
        (tmp_path / "student").mkdir()
        with running_daemon(tmp_path / "student", "--registry-mirror", f"http://{hub.host}") as daemon:
            yield daemon
            for image in daemon.cli("images", "-q").stdout.split():
                daemon.cli("rmi", "-f", image, check=False)


def test_images_and_registries(student: Daemon, tmp_path: Path) -> None:
    def docker(line: str, *, stdin: str | None = None) -> str:
        return student.cli(*line.split(), input=stdin, cwd=tmp_path).stdout

    said = docker("pull alpine:3.20")
    assert said.startswith("3.20: Pulling from library/alpine\n")
    assert said.endswith("Status: Downloaded newer image for alpine:3.20\ndocker.io/library/alpine:3.20\n")
    assert docker("images").splitlines()[1].split()[:2] == ["alpine", "3.20"]

    docker("tag alpine:3.20 myapp:1.0")
    image = docker("images -q myapp:1.0")
    assert image == docker("images -q alpine:3.20")
    assert "made for a test" in docker("history myapp:1.0")

    docker("run --name change --network none alpine:3.20 touch /made")
    assert docker("diff change") == "A /made\n"
    assert docker("commit -a me -m changed change myapp:2.0").startswith("sha256:")
    lines = docker("history --format {{.CreatedBy}}|{{.Comment}} myapp:2.0").splitlines()
    assert lines == ["touch /made|changed", "made for a test|"]
    assert docker("run --rm --network none myapp:2.0 ls /made") == "/made\n"

    docker("save -o myapp.tar myapp:2.0")
    docker("rm change")
    assert "Untagged: myapp:2.0" in docker("rmi myapp:2.0")
    assert docker("load -i myapp.tar") == "Loaded image: myapp:2.0\n"

    docker("create --name flat --network none myapp:2.0")
    docker("export -o flat.tar flat")
    assert docker("import flat.tar flat:latest").startswith("sha256:")
    assert docker("history -q flat:latest").count("\n") == 1
    assert docker("run --rm --network none flat:latest ls /made") == "/made\n"
    docker("rm flat")

    docker(f"tag myapp:2.0 {REGISTRY}/team/myapp:2.0")
    denied = student.cli("push", f"{REGISTRY}/team/myapp:2.0", check=False)
    assert denied.returncode == 1
    assert "no basic auth credentials" in denied.stderr
    assert "Login Succeeded" in docker(f"login {REGISTRY} -u {USER} --password-stdin", stdin=PASSWORD)
    assert "2.0: digest: sha256:" in docker(f"push {REGISTRY}/team/myapp:2.0")
    docker(f"rmi {REGISTRY}/team/myapp:2.0 myapp:2.0")
    docker(f"pull {REGISTRY}/team/myapp:2.0")
    assert docker(f"run --rm --network none {REGISTRY}/team/myapp:2.0 ls /made") == "/made\n"
    assert f"Removing login credentials for {REGISTRY}" in docker(f"logout {REGISTRY}")


def test_a_pipe_from_save_to_load(student: Daemon) -> None:
    """``docker save | gzip | docker load``, as it is written for machines without a registry."""
    client = student.client()
    client.images.load(busybox_archive("piped:1"))
    client.close()
    line = f"docker -H {student.url} save piped:1 | gzip | docker -H {student.url} load"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "Loaded image: piped:1\n"
