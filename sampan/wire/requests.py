"""Request documents from a few arguments: what ``sampan.Client`` and ``sampan.Engine`` have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.base.errors import EngineError

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
