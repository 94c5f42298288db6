"""The group ``registry``: what eight clients at once get out of our registry, and out of docker-registry."""

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from benchmarks.bench import Bench, now
from benchmarks.engine import Engine
from benchmarks.http import Failed
from benchmarks.place import Place
from support.registries import DockerRegistry, Registry
from support.registry_server import SampanRegistry

_CLIENTS: Final = 8
_PEER: Final = "docker-registry"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
# Reads every blob on a connection of its own, as an engine's parallel downloads do, and drops it.
_CLIENT: Final = """
import socket, sys
host, port = sys.argv[1].split(":")
buffer = bytearray(1 << 20)
sys.stdin.read()
for digest in sys.argv[2:]:
    with socket.create_connection((host, int(port))) as connection:
        head = f"GET /v2/bench/large/blobs/{digest} HTTP/1.1\\r\\nHost: r\\r\\nConnection: close\\r\\n\\r\\n"
        connection.sendall(head.encode())
        while connection.recv_into(buffer):
            pass
"""


def registry(bench: Bench) -> None:
    """Measure both, in turns."""
    ours = next(engine for engine in bench.engines if engine.is_ours)
    folder = bench.archive.parent / "registries"
    with ExitStack() as stack:
        servers: dict[str, Registry] = {}
        program = (str(Path(ours.command[0]).with_name("sampan-registry")),)
        servers[ours.name] = SampanRegistry(folder / "ours", program=program)
        stack.enter_context(_running(servers[ours.name]))
        if shutil.which(_PEER):
            servers[_PEER] = DockerRegistry(folder / "theirs", _free_address())
            stack.enter_context(_running(servers[_PEER]))
            bench.others.append(Engine(_PEER, _PEER, _version(), Place(), [], {}))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        blobs = {name: _push_layers(bench.archive, server) for name, server in servers.items()}
        for number in range(1 + min(5, bench.rounds)):
            for name, server in servers.items():
                before = _cpu_s(server.pid)
                rate = _pull(server, blobs[name])
                if number:
                    bench.results.add("registry", name, rate)
                    bench.results.add("registry cpu", name, _cpu_s(server.pid) - before)
        for name, server in servers.items():
            bench.results.add("registry rss", name, _peak_mib(server.pid))


@contextmanager
def _running(server: DockerRegistry | SampanRegistry | Registry) -> Iterator[None]:
    server.folder.mkdir(parents=True)
    try:
        if isinstance(server, DockerRegistry | SampanRegistry):
            server.start()
        yield
    finally:
        server.stop()


def _free_address() -> str:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as plain:
        return f"127.0.0.1:{plain.getsockname()[1]}"


def _push_layers(archive: Path, server: Registry) -> dict[str, int]:
    """Push the layers of an image's archive; return their sizes by digest."""
    sizes = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith("layer.tar") else None
            if file is not None:
                digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"  # type: ignore[arg-type]
                file.seek(0)
                _push(server, digest, file, member.size)
                sizes[digest] = member.size
    return sizes


def _push(server: Registry, digest: str, data: IO[bytes], size: int) -> None:
    connection = http.client.HTTPConnection(server.host, timeout=120)
    try:
        connection.request("POST", "/v2/bench/large/blobs/uploads/")
        answer = connection.getresponse()
        answer.read()
        target = urlsplit(answer.headers["Location"])
        query = f"{target.query}&digest={digest}".lstrip("&")
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        connection.request("PUT", f"{target.path}?{query}", data, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 201:
            raise Failed(f"the registry at {server.host} does not take a blob: {answer.status}")
    finally:
        connection.close()


def _pull(server: Registry, blobs: dict[str, int]) -> float:
    """Let every client pull every blob; return MB a second, all together."""
    command = [sys.executable, "-S", "-E", "-c", _CLIENT, server.host, *blobs]
    clients = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(_CLIENTS)]
    started = now()
    for client in clients:  # they wait for the end of their input
        assert client.stdin is not None
        client.stdin.close()
    failed = [client.wait() for client in clients]
    seconds = now() - started
    if any(failed):
        raise Failed(f"a client of the registry at {server.host} failed")
    return _CLIENTS * sum(blobs.values()) / seconds / 1e6


def _cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def _peak_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def _version() -> str:
    done = subprocess.run([_PEER, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.split() or ["?"])[-1]
