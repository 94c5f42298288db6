"""The userland proxy: serves published ports where NAT does not reach, in the daemon itself.

NAT carries nearly everything. What is left: ``::1`` and other IPv6 addresses in front of a container with
IPv4, and every port while there are no firewall rules. Each connection costs one task and no process.
"""

import asyncio
import contextlib
import logging
import socket
from dataclasses import dataclass
from typing import Any, Final

from sampan.base.tasks import Tasks
from sampan.networks.model import Forward

_log = logging.getLogger(__name__)
_BUFFER: Final = 1 << 16
_DATAGRAM: Final = 65535
_ANCILLARY: Final = 128
_UDP_IDLE_S: Final = 90.0  # docker-proxy's
_UDP_CLIENTS: Final = 4096
_BACKLOG: Final = 64  # connections accepted at one go
_RETRY_S: Final = 1.0  # after descriptors have run out, as asyncio's own servers do


class PortProxy:
    """Serves ``listener`` by connecting to the target of ``forward``. It does not own the listener."""

    def __init__(self, listener: socket.socket, forward: Forward) -> None:
        self._listener = listener
        self._forward = forward
        self._family = socket.AF_INET if forward.target.version == 4 else socket.AF_INET6
        self._tasks = Tasks("proxy")
        self._clients: dict[Any, _Client] = {}
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._watch()

    @property
    def forward(self) -> Forward:
        """What it serves."""
        return self._forward

    def _watch(self) -> None:
        if not self._closed:
            serve = self._receive if self._forward.protocol == "udp" else self._accept
            self._loop.add_reader(self._listener, serve)

    async def close(self) -> None:
        """Stop serving and cut the connections."""
        self._closed = True
        self._loop.remove_reader(self._listener)
        for client in list(self._clients.values()):
            self._forget(client)
        await self._tasks.close()

    def _accept(self) -> None:
        for _ in range(_BACKLOG):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                _log.warning("cannot accept", extra={"port": str(self._forward), "error": str(error)})
                self._loop.remove_reader(self._listener)
                self._loop.call_later(_RETRY_S, self._watch)
                return
            connection.settimeout(0)
            self._tasks.spawn(self._relay(connection), name=str(self._forward))

    async def _relay(self, connection: socket.socket) -> None:
        protocol = connection.proto
        with connection, socket.socket(self._family, socket.SOCK_STREAM, protocol) as backend:
            backend.settimeout(0)
            try:
                await self._loop.sock_connect(backend, (str(self._forward.target), self._forward.target_port))
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(connection, backend))
                    group.create_task(self._pump(backend, connection))
            except OSError as error:
                _log.debug("connection not served", extra={"port": str(self._forward), "error": str(error)})

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Copy until the source ends, then end the sink's input; a broken side ends both directions."""
        buffer = bytearray(_BUFFER)
        view = memoryview(buffer)
        try:
            while count := await self._loop.sock_recv_into(source, buffer):
                await self._loop.sock_sendall(sink, view[:count])
        except OSError:
            with contextlib.suppress(OSError):
                source.shutdown(socket.SHUT_RD)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        for _ in range(_BACKLOG):
            try:
                data, ancillary, _, address = self._listener.recvmsg(_DATAGRAM, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error of an earlier answer
                _log.debug("datagram lost", extra={"port": str(self._forward), "error": str(error)})
                continue
            client = self._clients.get(address) or self._greet(address, ancillary)
            if client is None:
                continue
            client.seen = self._loop.time()
            with contextlib.suppress(OSError):
                client.backend.send(data)

    def _greet(self, address: Any, ancillary: list[Any]) -> "_Client | None":
        if len(self._clients) >= _UDP_CLIENTS:
            return None
        backend = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            backend.connect((str(self._forward.target), self._forward.target_port))
        except OSError:
            backend.close()
            return None
        client = _Client(address, backend, _reply_control(ancillary), self._loop.time())
        self._clients[address] = client
        self._loop.add_reader(backend, self._answer, client)
        self._loop.call_later(_UDP_IDLE_S, self._expire, client)
        return client

    def _answer(self, client: "_Client") -> None:
        for _ in range(_BACKLOG):
            try:
                data = client.backend.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:  # port unreachable: the container does not listen
                self._forget(client)
                return
            client.seen = self._loop.time()
            with contextlib.suppress(OSError):
                self._listener.sendmsg([data], client.control, 0, client.address)

    def _expire(self, client: "_Client") -> None:
        if self._clients.get(client.address) is not client:
            return
        left = client.seen + _UDP_IDLE_S - self._loop.time()
        if left > 0:
            self._loop.call_later(left, self._expire, client)
        else:
            self._forget(client)

    def _forget(self, client: "_Client") -> None:
        if self._clients.get(client.address) is client:
            del self._clients[client.address]
            self._loop.remove_reader(client.backend)
            client.backend.close()


@dataclass(slots=True, eq=False)
class _Client:
    """A sender of datagrams: where answers go, through which socket it is served, from which address."""

    address: Any
    backend: socket.socket
    control: list[tuple[int, int, bytes]]
    seen: float


def _reply_control(ancillary: list[Any]) -> list[tuple[int, int, bytes]]:
    """Return the control message that makes an answer leave from the address that was asked.

    struct in_pktinfo is {ifindex, spec_dst, addr}, in6_pktinfo {addr, ifindex}: what arrived can be sent back
    with the interface left open.
    """
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and len(data) == 12:
            return [(level, kind, bytes(4) + data[4:8] + bytes(4))]
        if level == socket.IPPROTO_IPV6 and len(data) == 20:
            return [(level, kind, data[:16] + bytes(4))]
    return []
