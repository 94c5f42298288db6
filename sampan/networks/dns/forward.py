"""Asking others: a question that no network of the engine's answers goes to name servers as it came.

One socket a question, so that the kernel's random port protects the answer beside the random id. The servers
are asked in their order, each a moment after the one before; whoever failed lately comes last.
"""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.networks.dns import message
from sampan.networks.dns.message import Query


@dataclass(frozen=True, slots=True)
class Tried:
    """A server that was asked: what came of it, after how many milliseconds."""

    server: str
    outcome: str
    ms: float


MakeSocket = Callable[[int, int], Awaitable[socket.socket]]
"""Makes a non-blocking socket, of a family and a kind, in the namespace that the servers are asked from."""

_STAGGER_S: Final = 0.8
_TIMEOUT_S: Final = 4.0  # moby's extIOTimeout
_PENALTY_S: Final = 30.0
_PORT: Final = 53
_DATAGRAM: Final = 65535
_ELSEWHERE: Final = frozenset({message.SERVFAIL, message.NOTIMP, message.REFUSED})


async def make_here(family: int, kind: int) -> socket.socket:
    """Make a socket in the namespace of the calling thread."""
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    made.settimeout(0)
    return made


class Forwarder:
    """Asks the name servers that ``servers`` returns, by sockets that ``make`` makes."""

    def __init__(
        self, servers: Callable[[], Sequence[str]], make: MakeSocket = make_here, port: int = _PORT
    ) -> None:
        self._servers = servers
        self._make = make
        self._port = port
        self._bad: dict[str, float] = {}

    async def ask(
        self, query: Query, data: bytes, *, tcp: bool, tell: Callable[[Tried], None] | None = None
    ) -> bytes | None:
        """Return the answer to ``data``, which is ``query``, with the asker's id; None if nobody gives one.

        An error of a server's own (SERVFAIL, REFUSED) is returned only if no other server does better.
        ``tell`` hears how each server that was asked did.
        """
        now = asyncio.get_running_loop().time()
        servers = sorted(self._servers(), key=lambda server: self._bad.get(server, 0.0) > now)
        fallback: bytes | None = None
        async with asyncio.TaskGroup() as group:
            waiting: set[asyncio.Task[bytes | None]] = set()
            left = list(servers)
            while left or waiting:
                if left:
                    waiting.add(
                        group.create_task(self._ask_one(left.pop(0), query, data, tcp=tcp, tell=tell))
                    )
                done, waiting = await asyncio.wait(
                    waiting,
                    timeout=_STAGGER_S if left else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    answer = task.result()
                    if answer is not None and message.rcode_of(answer) not in _ELSEWHERE:
                        for other in waiting:
                            other.cancel()
                        return answer
                    fallback = fallback or answer
        return fallback

    async def _ask_one(
        self,
        server: str,
        query: Query,
        data: bytes,
        *,
        tcp: bool,
        tell: Callable[[Tried], None] | None,
    ) -> bytes | None:
        started = time.monotonic()

        def told(outcome: str) -> None:
            if tell is not None:
                tell(Tried(server, outcome, (time.monotonic() - started) * 1000))

        ident = int.from_bytes(os.urandom(2), "big")
        sent = ident.to_bytes(2, "big") + data[2:]
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await (self._by_tcp if tcp else self._by_udp)(server, query, sent, ident)
        except (OSError, TimeoutError, EOFError) as error:
            self._bad[server] = asyncio.get_running_loop().time() + _PENALTY_S
            told("no answer" if isinstance(error, TimeoutError) else str(error) or "connection ended")
            return None
        except asyncio.CancelledError:
            told("another was faster")
            raise
        self._bad.pop(server, None)
        told(message.RCODES.get(message.rcode_of(answer), str(message.rcode_of(answer))))
        return query.id.to_bytes(2, "big") + answer[2:]

    async def _by_udp(self, server: str, query: Query, sent: bytes, ident: int) -> bytes:
        loop = asyncio.get_running_loop()
        with await self._connected(server, socket.SOCK_DGRAM) as sock:
            await loop.sock_sendall(sock, sent)
            while True:
                answer = await loop.sock_recv(sock, _DATAGRAM)
                if message.answers(query, answer, ident):
                    return answer

    async def _by_tcp(self, server: str, query: Query, sent: bytes, ident: int) -> bytes:
        loop = asyncio.get_running_loop()
        frames = message.Frames()
        with await self._connected(server, socket.SOCK_STREAM) as sock:
            await loop.sock_sendall(sock, message.frame(sent))
            while True:
                data = await loop.sock_recv(sock, _DATAGRAM)
                if not data:
                    raise EOFError
                for answer in frames.feed(data):
                    if message.answers(query, answer, ident):
                        return answer

    async def _connected(self, server: str, kind: int) -> socket.socket:
        made = await self._make(socket.AF_INET6 if ":" in server else socket.AF_INET, kind)
        try:
            address = server, self._port
            if "%" in server:
                infos = await asyncio.get_running_loop().getaddrinfo(
                    server, self._port, flags=socket.AI_NUMERICHOST
                )
                address = infos[0][4]  # type: ignore[assignment]
            await asyncio.get_running_loop().sock_connect(made, address)
        except BaseException:
            made.close()
            raise
        return made
