"""What lies on the disk of a daemon, and what our own command line says of it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import docker
from support.daemon import Daemon, sampan
from support.images import docker_archive, load_busybox
from support.layers import Layer


def on_disk(path: Path) -> int:
    """Return what ``du`` says that lies below ``path``, other file systems left out."""
    done = subprocess.run(["du", "-sx", "-B1", path], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def explain(daemon: Daemon) -> dict[str, Any]:
    """Return the account of every byte."""
    account: dict[str, Any] = json.loads(
        sampan(daemon, "system", "df", "--explain", "--format", "json").stdout
    )
    return account


def check(daemon: Daemon, *flags: str) -> list[dict[str, Any]]:
    """Return what a check finds."""
    done = sampan(daemon, "system", "check", "--format", "json", *flags, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)["Findings"]
    assert done.returncode == int(any(not finding["Repaired"] for finding in found))
    return found


def load(client: docker.DockerClient, name: str, *layers: bytes) -> str:
    """Load an image of ``layers``; return its ID."""
    client.images.load(docker_archive(name, list(layers), {"Cmd": ["true"]}))
    identifier: str = client.images.get(name).id
    return identifier


def file_layer(name: str, size: int) -> bytes:
    """Return a layer of one file that does not shrink."""
    return Layer().add(name, (name.encode() * size)[:size]).bytes()


def fill(daemon: Daemon) -> None:
    """Give a new daemon images, containers (one runs) and volumes."""
    load_busybox(daemon)
    client = daemon.client()
    load(client, "data:1", file_layer("one", 3_000_000), file_layer("two", 2_000_000))
    write = "head -c 4000000 /dev/urandom >/own; head -c 5000000 /dev/urandom >/v/f"
    client.containers.run(
        "busybox", ["sh", "-c", write], name="writer", volumes=["vol:/v"], detach=True
    ).wait()
    client.containers.get("writer").commit("made", "1")
    # Not on docker0, which the daemons of other tests share.
    options = {"name": "runs", "volumes": ["/anonymous"], "network_mode": "none"}
    client.containers.run("busybox", "sleep 1000", detach=True, **options)
    client.containers.create("busybox", "true", name="new")
    client.networks.create("lonely")
    client.close()
