"""Sockets in the network namespaces where they belong, all in the test's own event loop.

A place is the path of a namespace, None the namespace of the test itself.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sampan.kernel.threads import NamespaceThread

_REFUSED_S = 1.6  # a first packet that was lost is sent again after a second


class Places:
    """Servers and clients in namespaces."""

    def __init__(self) -> None:
        self._threads: dict[str, NamespaceThread] = {}

    def leave(self) -> None:
        """End the threads that entered namespaces."""
        for thread in self._threads.values():
            thread.close()
        self._threads.clear()

    def make_socket(
        self, place: str | Path | None, kind: int = socket.SOCK_STREAM, *, ipv6: bool = False
    ) -> socket.socket:
        """Return a non-blocking socket made in ``place``."""
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        if place is None:
            made = socket.socket(family, kind)
        else:
            key = str(place)
            if key not in self._threads:
                self._threads[key] = NamespaceThread(Path(key))
            made = self._threads[key].run(socket.socket, family, kind)
        made.setblocking(False)
        return made

    def make_packet_socket(self, place: str | Path, link: str) -> socket.socket:
        """Return a socket for raw frames on ``link``, made in ``place``."""
        self.make_socket(place).close()
        thread = self._threads[str(place)]
        made = thread.run(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)
        thread.run(made.bind, (link, 0))
        return made

    @asynccontextmanager
    async def tcp_server(
        self, place: str | Path | None, port: int, host: str = "0.0.0.0"
    ) -> AsyncIterator[None]:
        """Serve in ``place``: tell each client its own address as the server sees it, then echo."""
        listener = self.make_socket(place, ipv6=":" in host)
        if ":" in host:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(writer.get_extra_info("peername")[0].encode() + b"\n")
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
            writer.close()

        server = await asyncio.start_server(serve, sock=listener)
        try:
            yield
        finally:
            server.close()

    @asynccontextmanager
    async def udp_server(self, place: str | Path | None, port: int) -> AsyncIterator[None]:
        """Serve datagrams in ``place``: answer each with its sender's address."""
        sock = self.make_socket(place, socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", port))
        loop = asyncio.get_running_loop()

        def answer() -> None:
            _, sender = sock.recvfrom(2048)
            sock.sendto(sender[0].encode(), sender)

        loop.add_reader(sock, answer)
        try:
            yield
        finally:
            loop.remove_reader(sock)
            sock.close()

    async def tcp(
        self,
        place: str | Path | None,
        host: str,
        port: int,
        payload: bytes = b"ping",
        *,
        client: socket.socket | None = None,
    ) -> str | None:
        """Return whom the server at ``host`` saw when asked from ``place``, None if it is not reached.

        ``client``: a socket of ``place``, bound to the address that it shall speak as.
        """
        loop = asyncio.get_running_loop()
        with client or self.make_socket(place, ipv6=":" in host) as client:
            try:
                async with asyncio.timeout(_REFUSED_S):
                    await loop.sock_connect(client, (host, port))
                    await loop.sock_sendall(client, payload)
                    client.shutdown(socket.SHUT_WR)
                    answer = b""
                    while data := await loop.sock_recv(client, 1 << 16):
                        answer += data
            except (TimeoutError, OSError):
                return None
        seen, _, echo = answer.partition(b"\n")
        return seen.decode() if echo == payload else None

    async def udp(
        self, place: str | Path | None, host: str, port: int, client: socket.socket | None = None
    ) -> str | None:
        """Return whom the server at ``host`` saw when sent a datagram from ``place``, None if silent."""
        loop = asyncio.get_running_loop()
        own = client or self.make_socket(place, socket.SOCK_DGRAM, ipv6=":" in host)
        try:
            async with asyncio.timeout(_REFUSED_S):
                await loop.sock_sendto(own, b"ping", (host, port))
                answer, sender = await loop.sock_recvfrom(own, 2048)
        except (TimeoutError, OSError):
            return None
        finally:
            if client is None:
                own.close()
        return answer.decode() if sender[0] == host else None
