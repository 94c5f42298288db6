"""Attaching a client's connection to a process: bytes to and from the shim, history first, detach keys."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import Final, Protocol

from sampan.base.errors import InvalidParameter

_CHUNK: Final = 65536
DEFAULT_DETACH_KEYS: Final = b"\x10\x11"  # ctrl-p,ctrl-q
_CONTROL: Final = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


class Hijacked(Protocol):
    """A client's connection after the HTTP upgrade."""

    async def read(self) -> bytes:
        """Return the next bytes; empty when the client closed its half."""

    async def write(self, data: bytes, /) -> None:
        """Send ``data``, waiting while the client is slow. Raises ConnectionError."""

    async def write_eof(self) -> None:
        """Close our half."""

    def close(self) -> None:
        """Drop the connection."""


def parse_detach_keys(text: str) -> bytes:
    """Return the key sequence named like ``ctrl-p,ctrl-q`` or ``a,ctrl-]``; the default if ``text`` is empty.

    Raises InvalidParameter.
    """
    if not text:
        return DEFAULT_DETACH_KEYS
    keys = bytearray()
    for name in text.split(","):
        if len(name) == 1 and name.isascii():
            keys += name.encode()
            continue
        letter = name.removeprefix("ctrl-") if name.startswith("ctrl-") else ""
        if len(letter) == 1 and "a" <= letter <= "z":
            keys.append(ord(letter) - ord("a") + 1)
        elif letter in _CONTROL:
            keys.append(_CONTROL[letter])
        else:
            raise InvalidParameter(f"Unknown character: '{name}'")
    return bytes(keys)


class DetachFilter:
    """Watches a terminal's input for the detach keys; a pure state machine.

    ``feed`` returns what goes on to the process; the keys of a sequence that breaks off are passed on late.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""
        self.detached = False

    def feed(self, data: bytes) -> bytes:
        """Take ``data`` and return the bytes for the process; ``detached`` tells whether the keys came."""
        passed = bytearray()
        for byte in data:
            self._held += bytes((byte,))
            if self._held == self._keys:
                self.detached = True
                return bytes(passed)
            if not self._keys.startswith(self._held):
                passed += self._held
                self._held = b""
        return bytes(passed)


class Framing(Enum):
    """What is done with the multiplexing headers on the way to the client.

    Whether a client of an exec reads frames is told by the request that starts it, whether the process writes
    them by the one that made it: the two may differ.
    """

    AS_IT_COMES = 0
    ADD = 1
    STRIP = 2

    @classmethod
    def between(cls, *, process_tty: bool, client_tty: bool) -> "Framing":
        """Return what a client needs that reads as of a terminal or not."""
        if process_tty == client_tty:
            return cls.AS_IT_COMES
        return cls.STRIP if client_tty else cls.ADD


def frame(data: bytes) -> bytes:
    """Put Docker's multiplexing header for stdout before ``data``: stream number, three zeros, length."""
    return b"\1\0\0\0" + len(data).to_bytes(4, "big") + data


class Deframer:
    """Takes the multiplexing headers out of a stream, however it is cut up; a pure state machine."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """Take ``data`` and return what is payload in it."""
        plain = bytearray()
        while data:
            if not self._left:
                missing = 8 - len(self._header)
                self._header += data[:missing]
                data = data[missing:]
                if len(self._header) == 8:
                    self._left = int.from_bytes(self._header[4:], "big")
                    self._header = b""
                continue
            plain += data[: self._left]
            taken = min(len(data), self._left)
            self._left -= taken
            data = data[taken:]
        return bytes(plain)


class Attachment:
    """One attachment that has been granted; ``run`` moves bytes until the process or the client ends it.

    ``stream`` is our end of a connection to the shim (None: history only). ``history`` comes before anything
    live. ``detach_keys`` is None unless the process has a terminal and input.
    """

    def __init__(
        self,
        *,
        tty: bool,
        stream: socket.socket | None,
        stdin: bool,
        history: AsyncIterator[bytes] | None = None,
        framing: Framing = Framing.AS_IT_COMES,
        detach_keys: bytes | None = None,
        on_detach: Callable[[], object] = lambda: None,
    ) -> None:
        self.tty = tty
        self._stream = stream
        self._stdin = stdin
        self._history = history
        self._framing = framing
        self._detach_keys = detach_keys
        self._on_detach = on_detach

    def close(self) -> None:
        """Give the connection to the shim back without having run."""
        if self._stream is not None:
            self._stream.close()

    async def run(self, client: Hijacked) -> None:
        """Serve ``client`` to the end of the output, or until it goes away or detaches."""
        try:
            if self._history is not None:
                async for chunk in self._history:
                    await client.write(chunk)
            if self._stream is not None:
                await self._live(client, self._stream)
        except ConnectionError:
            pass  # the client went away: the process goes on
        finally:
            self.close()
            client.close()

    async def _live(self, client: Hijacked, stream: socket.socket) -> None:
        stream.setblocking(False)  # noqa: FBT003 - the socket module's signature
        directions = [self._output(client, stream)] + ([self._input(client, stream)] if self._stdin else [])
        tasks = {asyncio.ensure_future(work) for work in directions}  # noqa: TID251 - ended below
        try:
            ended = False
            while not ended:
                done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                ended = any(task.result() for task in done)
                tasks = waiting
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _output(self, client: Hijacked, stream: socket.socket) -> bool:
        """Move the process's output on to its end; return True: the attachment is over then."""
        loop = asyncio.get_running_loop()
        deframer = Deframer()
        while True:
            try:
                data = await loop.sock_recv(stream, _CHUNK)
            except ConnectionError:
                return True  # the shim is gone
            if not data:
                return True
            if self._framing is Framing.ADD:
                data = frame(data)
            elif self._framing is Framing.STRIP:
                data = deframer.feed(data)
            await client.write(data)

    async def _input(self, client: Hijacked, stream: socket.socket) -> bool:
        """Move the client's input on; return True if it ended with the detach keys."""
        loop = asyncio.get_running_loop()
        keys = DetachFilter(self._detach_keys) if self._detach_keys else None
        try:
            while data := await client.read():
                if keys is not None:
                    data = keys.feed(data)
                await loop.sock_sendall(stream, data)
                if keys is not None and keys.detached:
                    self._on_detach()
                    return True
            stream.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the process closed its input, or the client is gone: the output side notices its end
        return False
