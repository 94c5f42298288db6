"""``sampan.Engine``: the whole engine in the caller's process, without a socket.

    async with sampan.Engine(data_root="/var/lib/mine", exec_root="/run/mine") as engine:
        print(await engine.run("busybox", ["echo", "hello"]))

Its methods are those of ``sampan.Client``, awaited, with the same documents. One engine at a time owns a data
root; containers outlive it and are found again by the next one.
"""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from sampan.base.errors import InvalidParameter
from sampan.base.threads import blocking
from sampan.daemon.config import Config
from sampan.daemon.process import lock_data_root
from sampan.daemon.services import Engine as Running
from sampan.daemon.services import build
from sampan.logs.service import LogQuery
from sampan.runtime.task import Streams
from sampan.wire.containers import CreateContainer, ExecConfig, StartExec
from sampan.wire.requests import CommandFailed, Ports, container
from sampan.wire.system import Progress

Json = dict[str, Any]
Filters = Mapping[str, Sequence[str]]
_CHUNK = 1 << 18
_STDOUT = 1


class Engine:
    """An engine of the caller's own. Needs root; settings are those of ``sampand``, with underscores.

    Raises EngineError or a subclass (see ``sampan.base.errors``), with Docker's words.
    """

    def __init__(
        self,
        *,
        data_root: str | Path = "/var/lib/sampan",
        exec_root: str | Path = "/run/sampan",
        **settings: Any,
    ) -> None:
        self._config = Config(data_root=Path(data_root), exec_root=Path(exec_root), **settings)
        self._running: Running | None = None
        self._lock = -1

    async def __aenter__(self) -> Self:
        self._lock = await blocking(lock_data_root, self._config.data_root)
        try:
            self._running = await build(self._config)
        except BaseException:
            os.close(self._lock)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            await self._running.close()
            self._running = None
        os.close(self._lock)

    @property
    def _services(self) -> Any:
        if self._running is None:
            raise InvalidParameter("the engine is not open: use 'async with'")
        return self._running.services

    # --- containers

    async def containers(self, *, all: bool = False, filters: Filters | None = None) -> list[Json]:  # noqa: A002
        """List containers: the running ones, or all of them."""
        found = await self._services.containers.list_containers(all=all, filters=filters or {})
        return [_plain(summary) for summary in found]

    async def create(
        self,
        image: str,
        command: Sequence[str] | None = None,
        *,
        name: str = "",
        platform: str = "",
        ports: Ports | None = None,
        volumes: Sequence[str] = (),
        env: Mapping[str, str] | Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        config: Json | None = None,
        host_config: Json | None = None,
    ) -> str:
        """Make a container and return its id; the arguments are those of ``Client.create``."""
        document = container(
            image,
            command,
            ports=ports,
            volumes=volumes,
            env=env,
            labels=labels,
            config=config,
            host_config=host_config,
        )
        try:
            body = msgspec.convert(document, CreateContainer)
        except msgspec.ValidationError as error:
            raise InvalidParameter(str(error)) from error
        made = await self._services.containers.create(body, name=name or None, platform=platform or None)
        return str(made.id)

    async def start(self, name: str) -> None:
        """Start a container; nothing happens if it runs already."""
        await self._services.containers.start(name)

    async def stop(self, name: str, *, signal: str = "", timeout: int | None = None) -> None:
        """Stop a container: its stop signal, and after ``timeout`` seconds SIGKILL."""
        await self._services.containers.stop(name, signal=signal or None, timeout=timeout)

    async def kill(self, name: str, signal: str = "KILL") -> None:
        """Send a signal, SIGKILL unless another is named."""
        await self._services.containers.kill(name, signal)

    async def wait(self, name: str, condition: str = "not-running") -> int:
        """Wait (``not-running``, ``next-exit``, ``removed``) and return the exit code."""
        result = await (await self._services.containers.wait(name, condition))
        return int(result.status_code)

    async def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container; ``force`` kills it first, ``volumes`` takes its anonymous volumes along."""
        await self._services.containers.remove(name, force=force, volumes=volumes)

    async def inspect(self, name: str) -> Json:
        """Return everything about a container."""
        return _plain(await self._services.containers.inspect(name))

    async def run(self, image: str, command: Sequence[str] | None = None, **options: Any) -> bytes:
        """Run a container to its end, remove it and return its standard output.

        Takes the options of ``create``. Raises CommandFailed when the exit code is not 0.
        """
        name = await self.create(image, command, **options)
        try:
            attachment = await self._services.containers.attach(
                name, logs=False, stream=True, streams=Streams(stdin=False, stdout=True, stderr=True)
            )
            ended = await self._services.containers.wait(name, "next-exit")
            await self.start(name)
            output = _Collector(framed=not attachment.tty)
            await attachment.run(output)
            code = (await ended).status_code
        finally:
            await self.remove(name, force=True, volumes=True)
        if code:
            raise CommandFailed(image, command, code, bytes(output.stderr))
        return bytes(output.stdout)

    async def logs(
        self, name: str, *, stdout: bool = True, stderr: bool = True, follow: bool = False, tail: int = -1
    ) -> AsyncIterator[tuple[int, bytes]]:
        """Yield what a container has written as (1 stdout | 2 stderr, bytes)."""
        query = LogQuery(stdout=stdout, stderr=stderr, follow=follow, tail=tail)
        stream = await self._services.containers.logs(name, query)
        splitter = _Splitter()
        async with aclosing(aiter(stream)) as chunks:
            async for chunk in chunks:
                if stream.tty:
                    yield _STDOUT, chunk
                else:
                    for piece in splitter.feed(chunk):
                        yield piece

    async def exec(self, name: str, command: Sequence[str], **options: Any) -> tuple[int, bytes]:
        """Run another command in a container; return its exit code and all it wrote."""
        document = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(command), **options}
        body = msgspec.convert(document, ExecConfig)
        exec_id = await self._services.containers.exec_create(name, body)
        attachment = await self._services.containers.exec_start(exec_id, StartExec(tty=body.tty))
        output = _Collector(framed=not body.tty)
        await attachment.run(output)
        return await self._services.containers.exec_wait(exec_id), bytes(output.everything)

    # --- images

    async def images(self, *, all: bool = False, filters: Filters | None = None) -> list[Json]:  # noqa: A002
        """List images."""
        return [_plain(summary) for summary in self._services.images.list(all=all, filters=filters or {})]

    async def load(self, source: str | Path | bytes) -> list[str]:
        """Load an image archive (a path, or its bytes); return the engine's messages."""
        messages: list[str] = []

        def note(progress: Progress) -> None:
            if progress.stream:
                messages.append(progress.stream.rstrip())

        await self._services.images.load(_chunks(source), note, quiet=True)
        return messages

    async def bootstrap(self, image: str) -> None:
        """Make a base image (``busybox``, ``debian:SUITE``) of the host's packages."""
        await self._services.images.bootstrap(image, lambda progress: None)

    async def inspect_image(self, name: str) -> Json:
        """Return everything about an image."""
        return _plain(self._services.images.inspect(name))

    async def remove_image(self, name: str, *, force: bool = False) -> list[Json]:
        """Remove a name, and the image with its last name; return Untagged and Deleted entries."""
        removed = await self._services.images.remove(name, force=force, prune=True)
        return [_plain(entry) for entry in removed]


def _plain(document: object) -> Json:
    """Return an API document as the dict that a client would get of it."""
    plain: Json = msgspec.json.decode(msgspec.json.encode(document))
    return plain


async def _chunks(source: str | Path | bytes) -> AsyncIterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    file = await blocking(Path(source).open, "rb")
    try:
        while chunk := await blocking(file.read, _CHUNK):
            yield chunk
    finally:
        file.close()


class _Splitter:
    """Takes multiplexed output apart, however it is cut up."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the whole frames that ``data`` completes, as (stream, bytes)."""
        data = self._rest + data
        pieces: list[tuple[int, bytes]] = []
        while len(data) >= 8 and len(data) >= (end := 8 + int.from_bytes(data[4:8], "big")):
            pieces.append((data[0], data[8:end]))
            data = data[end:]
        self._rest = data
        return pieces


class _Collector:
    """Stands where an HTTP client's connection would: sends nothing, keeps what comes."""

    def __init__(self, *, framed: bool) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.everything = bytearray()
        self._splitter = _Splitter() if framed else None

    async def read(self) -> bytes:
        return b""

    async def write(self, data: bytes, /) -> None:
        pieces = self._splitter.feed(data) if self._splitter is not None else [(_STDOUT, data)]
        for stream, piece in pieces:
            self.everything += piece
            (self.stdout if stream == _STDOUT else self.stderr).extend(piece)

    async def write_eof(self) -> None:
        """Nobody listens for our end."""

    def close(self) -> None:
        """Nothing is open."""
