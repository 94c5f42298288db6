"""What a Docker course shows about volumes, typed as it is written there."""

from pathlib import Path

import pytest
from support.daemon import Daemon

pytestmark = pytest.mark.root


def docker(daemon: Daemon, line: str, *, check: bool = True) -> str:
    """Run ``docker LINE``; return what it wrote."""
    done = daemon.cli(*line.split(" "), check=check)
    return done.stdout + done.stderr


def test_a_named_volume(docker_cli: Daemon) -> None:
    assert docker(docker_cli, "volume create myvolume") == "myvolume\n"
    assert docker(docker_cli, "volume ls") == "DRIVER    VOLUME NAME\nlocal     myvolume\n"
    docker(docker_cli, "run --name one -v myvolume:/data busybox touch /data/kept /lost")
    docker(docker_cli, "rm one")
    assert docker(docker_cli, "run --rm -v myvolume:/data busybox ls /data") == "kept\n"
    assert "lost" not in docker(docker_cli, "run --rm -v myvolume:/data busybox ls /")
    read_only = "run --rm --mount source=myvolume,target=/data,readonly busybox"
    assert docker(docker_cli, f"{read_only} ls /data") == "kept\n"
    assert "Read-only file system" in docker(docker_cli, f"{read_only} touch /data/f", check=False)
    place = docker(docker_cli, "volume inspect -f {{.Mountpoint}} myvolume").strip()
    assert (Path(place) / "kept").exists()
    docker(docker_cli, "run -d --name user -v myvolume:/data busybox sleep 1000")
    identifier = docker(docker_cli, "inspect -f {{.Id}} user").strip()
    assert docker(docker_cli, "volume rm myvolume", check=False) == (
        f"Error response from daemon: remove myvolume: volume is in use - [{identifier}]\n"
    )
    docker(docker_cli, "rm -f user")
    assert docker(docker_cli, "volume rm myvolume") == "myvolume\n"


def test_directories_of_the_host(docker_cli: Daemon, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("of the host\n")
    for option in (f"-v {tmp_path}:/container", f"--mount type=bind,source={tmp_path},target=/container"):
        assert docker(docker_cli, f"run --rm {option} busybox cat /container/f") == "of the host\n"


def test_backup_and_restore_by_hand(docker_cli: Daemon, tmp_path: Path) -> None:
    """The way of the course, with tar in a container; the image needs a tar of its own for it."""
    docker_cli.cli("run", "--rm", "-v", "myvolume:/volume", "busybox", "sh", "-c", "echo precious >/volume/f")
    program = "/bin/busybox tar"
    options = f"-v myvolume:/volume -v {tmp_path}:/backup"
    docker(docker_cli, f"run --rm {options} busybox {program} cvf /backup/myvolume.tar /volume")
    assert (tmp_path / "myvolume.tar").stat().st_size > 512
    options = f"-v fresh:/volume -v {tmp_path}:/backup"
    docker(docker_cli, f"run --rm {options} busybox {program} xvf /backup/myvolume.tar -C /")
    assert docker(docker_cli, "run --rm -v fresh:/volume busybox cat /volume/f") == "precious\n"
    docker(docker_cli, "volume rm myvolume fresh")


def test_anonymous_volumes_and_prune(docker_cli: Daemon) -> None:
    docker(docker_cli, "volume create --label keep=yes kept")
    docker(docker_cli, "run --name one -v /data busybox true")
    docker(docker_cli, "run --rm -v /data busybox true")
    assert len(docker(docker_cli, "volume ls -q").splitlines()) == 2
    assert docker(docker_cli, "volume ls -q -f dangling=true") == "kept\n"
    docker(docker_cli, "rm one")
    (left,) = set(docker(docker_cli, "volume ls -q").splitlines()) - {"kept"}
    assert docker(docker_cli, "volume prune -f") == (
        f"Deleted Volumes:\n{left}\n\nTotal reclaimed space: 0B\n"
    )
    assert docker(docker_cli, "volume prune -af --filter label!=keep") == "Total reclaimed space: 0B\n"
    assert docker(docker_cli, "volume prune -af --filter label=keep=yes").startswith(
        "Deleted Volumes:\nkept\n"
    )
    assert docker(docker_cli, "volume ls -q") == ""


def test_what_goes_wrong(docker_cli: Daemon) -> None:
    assert docker(docker_cli, "volume rm nosuch", check=False) == (
        "Error response from daemon: get nosuch: no such volume\n"
    )
    assert docker(docker_cli, "volume rm -f nosuch") == "nosuch\n"
    assert docker(docker_cli, "volume create -d nosuch vol", check=False) == (
        "Error response from daemon: create vol: error looking up volume plugin nosuch: "
        'plugin "nosuch" not found\n'
    )
    assert "includes invalid characters" in docker(docker_cli, "volume create a/b", check=False)
    assert "invalid filter 'nosuch'" in docker(docker_cli, "volume ls -f nosuch=1", check=False)
    assert "invalid filter 'dangling=[perhaps]'" in docker(
        docker_cli, "volume ls -f dangling=perhaps", check=False
    )
    assert docker(docker_cli, "volume ls -q") == ""
