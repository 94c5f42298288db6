"""Takes the matrix of who reaches whom of this engine and of a real dockerd, and prints where they differ.

Usage: ``SAMPAN_PEERS=peers.json PYTHONPATH=.. python -m conformance.reachability [PEER]`` in ``tests``, as
root. The file says how each peer is started; PEER is ``docker26`` unless given. Each engine runs in network
namespaces made for it, and nothing is left. docs/networks.md says why there are differences.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import docker
from support.daemon import Daemon, remove_everything
from support.images import load_busybox
from support.reach import COLUMNS, IPVLAN, SCENARIOS, Matrix, differences, join_hosts, render, take

_FLAGS: Final = ("--experimental", "--ip6tables")  # without them a dockerd of that age publishes no IPv6
_PATIENCE_S: Final = 30.0


def main() -> int:
    """Print both matrices' differences; return 1 if an engine did not run."""
    peer = sys.argv[1] if len(sys.argv) > 1 else "docker26"
    peers = {entry["name"]: entry for entry in json.loads(Path(os.environ["SAMPAN_PEERS"]).read_text())}
    ours, refused = _take_ours()
    theirs, refused_theirs = _take_theirs(peers[peer])
    print("".join(f"{letter}  {meaning}\n" for letter, meaning in COLUMNS.items()))
    print(render(ours))
    for who, reasons in (("sampan", refused), (peer, refused_theirs)):
        for scenario, reason in reasons.items():
            print(f"{who} refuses {scenario}: {reason}")
    print(f"\n{'':29}sampan   {peer}")
    for line in differences(ours, theirs):
        print(line)
    return 0


def _take_ours() -> tuple[Matrix, dict[str, str]]:
    with _hosts() as (host, outside), tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(Path(folder), inside=host)
        daemon.start()
        try:
            load_busybox(daemon)
            return _take(daemon.client(), host, outside)
        finally:
            remove_everything(daemon)
            daemon.stop()


def _take_theirs(peer: dict[str, str]) -> tuple[Matrix, dict[str, str]]:
    home = Path(os.environ["SAMPAN_PEERS"]).parent
    folder = home / "work" / f"reachability-{os.getpid()}"  # a folder that a peer in a chroot sees, too
    folder.mkdir(parents=True)
    socket = folder / "d.sock"
    with _hosts() as (host, outside):
        words = peer["start"].format(sock=socket, dir=folder).split()
        words = [word for word in words if word not in {"unshare", "-n"}]
        command = [
            "nsenter",
            f"--net={host}",
            "--",
            *words,
            *_FLAGS,
            "--exec-opt",
            "native.cgroupdriver=cgroupfs",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            client = _connect(socket, process)
            with next((home / "images").glob("busybox*.tar")).open("rb") as archive:
                (image,) = client.images.load(archive)
            return _take(client, host, outside, image.id)
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)
            shutil.rmtree(folder, ignore_errors=True)


def _connect(socket: Path, process: subprocess.Popen[bytes]) -> docker.DockerClient:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client = docker.DockerClient(base_url=f"unix://{socket}", timeout=60)
            client.ping()
        except docker.errors.DockerException:
            time.sleep(0.1)
        else:
            return client
    raise SystemExit(f"the peer does not answer: {socket.with_name('log').read_text()}")


def _take(
    client: docker.DockerClient, host: Path, outside: Path, image: str = "busybox:latest"
) -> tuple[Matrix, dict[str, str]]:
    refused: dict[str, str] = {}
    scenarios = (*SCENARIOS, *IPVLAN)
    matrix = asyncio.run(take(client, scenarios, host, outside, image=image, refused=refused))
    client.close()
    return matrix, refused


@contextmanager
def _hosts() -> Iterator[tuple[Path, Path]]:
    """Make a host and its neighbour, namespaces of their own."""
    names = [f"reach{os.getpid()}{role}" for role in ("host", "outside")]
    host, outside = (Path("/run/netns") / name for name in names)
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        inside = ["ip", "-n", names[0]]
        subprocess.run(
            [*inside, "link", "add", "lab0", "type", "veth", "peer", "name", "up0", "netns", names[1]],
            check=True,
        )
        for words in (
            ["ip", "-n", names[0], "link", "set", "lo", "up"],
            ["ip", "-n", names[0], "link", "set", "lab0", "up"],
            ["ip", "-n", names[0], "route", "add", "blackhole", "default", "metric", "9999"],
            ["ip", "-n", names[1], "link", "set", "lo", "up"],
            ["ip", "-n", names[1], "link", "set", "up0", "up"],
            ["nsenter", f"--net={host}", "--", "sysctl", "-qw", "net.ipv4.ip_forward=1"],
        ):
            subprocess.run(words, check=True)
        join_hosts(host, outside)
        yield host, outside
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


if __name__ == "__main__":
    sys.exit(main())
