"""What ``Client`` offers above the bare API: request documents from a few arguments, and whole runs.

The command line does not come here; it builds its documents from flags.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sampan.base.errors import EngineError
from sampan.client.frames import STDERR, STDOUT, split

if TYPE_CHECKING:
    from sampan.client.api import Client

Json = dict[str, Any]
Ports = Mapping[str, "int | str | Sequence[int | str]"]


class CommandFailed(EngineError):
    """A container run to its end came back with an exit code that is not 0; ``stderr`` is what it wrote."""

    def __init__(self, image: str, command: Sequence[str] | None, code: int, stderr: bytes) -> None:
        words = " ".join(command or ()) or "its default command"
        super().__init__(f"{words} in {image} returned {code}: {stderr.decode(errors='replace').strip()}")
        self.code = code
        self.stderr = stderr


def container(
    image: str,
    command: Sequence[str] | None = None,
    *,
    ports: Ports | None = None,
    volumes: Sequence[str] = (),
    env: Mapping[str, str] | Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    config: Json | None = None,
    host_config: Json | None = None,
) -> Json:
    """Return the body of a create request; ``config`` and ``host_config`` (API names) go over the rest."""
    bindings = {_port(port): _bindings(wanted) for port, wanted in (ports or {}).items()}
    host: Json = {"Binds": list(volumes)} if volumes else {}
    if bindings:
        host["PortBindings"] = bindings
    body: Json = {"Image": image, "AttachStdout": True, "AttachStderr": True}
    if command is not None:
        body["Cmd"] = list(command)
    if env:
        body["Env"] = [f"{k}={v}" for k, v in env.items()] if isinstance(env, Mapping) else list(env)
    if labels:
        body["Labels"] = dict(labels)
    if bindings:
        body["ExposedPorts"] = {port: {} for port in bindings}
    return body | (config or {}) | {"HostConfig": host | (host_config or {})}


def run_to_end(client: "Client", image: str, command: Sequence[str] | None, options: Json) -> bytes:
    """Create, attach, start, wait and remove; return standard output. Raises CommandFailed."""
    framed = not (options.get("config") or {}).get("Tty")
    name = client.create(image, command, **options)
    try:
        wire = client.begin_attach(name).hijack()
        try:
            waiting = client.begin_wait(name, "next-exit")
            waited = waiting.response()
            client.start(name)
            pieces: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
            for stream, data in split(iter(wire.recv, b""), multiplexed=framed):
                pieces[stream].append(data)
            output = {stream: b"".join(parts) for stream, parts in pieces.items()}
            code = _exit_code(waited.read())
        finally:
            wire.close()
    finally:
        client.remove(name, force=True, volumes=True)
    if code:
        raise CommandFailed(image, command, code, output[STDERR])
    return output[STDOUT]


def _exit_code(answer: bytes) -> int:
    import json

    return int(json.loads(answer)["StatusCode"])


def _port(text: str) -> str:
    return text if "/" in text else f"{text}/tcp"


def _bindings(wanted: int | str | Sequence[int | str]) -> list[Json]:
    """Turn ``8080``, ``"127.0.0.1:8080"``, ``""`` or several of them into the API's bindings."""
    if isinstance(wanted, int | str):
        wanted = [wanted]
    found = []
    for item in wanted:
        address, _, port = str(item).rpartition(":")
        found.append({"HostIp": address.strip("[]"), "HostPort": port})
    return found
