"""What ``Client`` offers above the bare API: whole runs. The command line does not come here."""

__all__ = ["CommandFailed", "Ports", "container", "run_to_end"]

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sampan.client.frames import STDERR, STDOUT, split
from sampan.wire.requests import CommandFailed, Ports, container

if TYPE_CHECKING:
    from sampan.client.api import Client

Json = dict[str, Any]


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
