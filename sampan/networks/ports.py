"""Published ports: what was asked for, which host ports that becomes, and who holds them.

``parse_port`` and ``plan_ports`` are pure. ``HostPorts`` chooses and binds: the daemon holds a socket on each
published port, so that another program cannot take it unnoticed (NAT would shadow it silently).
"""

import errno
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.kernel.links import IpAddress
from sampan.networks.addresses import parse_address
from sampan.networks.holder import find_holder
from sampan.networks.model import Forward
from sampan.wire.containers import PortMap

PROTOCOLS: Final = ("tcp", "udp", "sctp")
ANY_IPV4: Final = IPv4Address(0)
ANY_IPV6: Final = IPv6Address(0)
_TRIES: Final = 10  # for a port of a range that a program holds which is not ours
_RANGE_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_RESERVED_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


class PortTaken(HostFailure):
    """A host port is held by somebody else; Docker answers that with status 500."""


@dataclass(frozen=True, slots=True)
class PortRequest:
    """One container port to be published on the same host port of each of ``hosts``.

    ``first`` to ``last`` is the range to choose from; 0 to 0: any ephemeral port.
    """

    protocol: str
    port: int
    first: int
    last: int
    hosts: tuple[IpAddress, ...]


def parse_port(text: str) -> tuple[int, str]:
    """Return (number, protocol) of ``80``, ``80/tcp``. Raises InvalidParameter in Docker's words."""
    number, slash, protocol = text.partition("/")
    value = _number(number)
    if value is None:
        raise InvalidParameter(f'invalid port specification: "{number}"')
    protocol = protocol.lower() if slash and protocol else "tcp"
    if protocol not in PROTOCOLS:
        raise InvalidParameter(f"invalid proto: {protocol}")
    return value, protocol


def parse_host_port(text: str) -> tuple[int, int]:
    """Return the range of ``""`` (0 to 0), ``8080``, ``8000-9000``. Raises InvalidParameter."""
    if not text:
        return 0, 0
    first, dash, last = text.partition("-")
    start = _number(first)
    end = _number(last) if dash else start
    if start is None or end is None or end < start:
        raise InvalidParameter(f'invalid port specification: "{text}"')
    return start, end


def plan_ports(
    bindings: PortMap,
    exposed: Sequence[str],
    *,
    publish_all: bool,
    default: IPv4Address = ANY_IPV4,
    ipv6: bool,
) -> list[PortRequest]:
    """Return what has to be allocated, in Docker's order: exact host ports before ranges.

    ``default`` is the host address of a binding that names none; where it is 0.0.0.0 and the host has
    ``ipv6``, such a binding also gets the same port on ``::``. Raises InvalidParameter.
    """
    wanted: dict[tuple[bool, int, int, int, int, int], list[IpAddress]] = {}
    entries = [(port, binding) for port, listed in bindings.items() for binding in listed or ()]
    ports = [(parse_port(port), binding.host_ip, binding.host_port) for port, binding in entries]
    if publish_all:
        bound = {parse_port(port) for port, listed in bindings.items() if listed}
        rest = {parse_port(port) for port in (*exposed, *bindings)} - bound
        ports += [(port, "", "") for port in rest]
    for (number, protocol), host_ip, host_port in ports:
        first, last = parse_host_port(host_port)
        exact = first != 0 and first == last
        for address in _addresses(host_ip, default, ipv6=ipv6):
            for turn in range(len(ports)):  # the same binding twice gets two ports
                key = (not exact, number, PROTOCOLS.index(protocol), first, last, turn)
                hosts = wanted.setdefault(key, [])
                if address not in hosts:
                    hosts.append(address)
                    break
    return [
        PortRequest(PROTOCOLS[key[2]], key[1], key[3], key[4], tuple(sorted(hosts, key=_address_order)))
        for key, hosts in sorted(wanted.items())
        if hosts
    ]


def exposed_only(bindings: PortMap, exposed: Iterable[str]) -> list[str]:
    """Return every port that is named, in canonical form: those inspect shows, published or not."""
    return ["/".join(map(str, parse_port(port))) for port in (*bindings, *exposed)]


def _addresses(text: str, default: IPv4Address, *, ipv6: bool) -> list[IpAddress]:
    if text:
        address = parse_address(text)
        if address is None:
            raise InvalidParameter(f"invalid IP address: {text}")
        return [address]
    return [default, ANY_IPV6] if default == ANY_IPV4 and ipv6 else [default]


def _address_order(address: IpAddress) -> tuple[int, int]:
    return address.version, int(address)


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        return None
    return value if (value := int(text)) <= 65535 else None


@dataclass(slots=True)
class Reservation:
    """A host port that is ours: ``listener`` holds it (None: the kernel has no such protocol)."""

    forward: Forward
    listener: socket.socket | None


class HostPorts:
    """Who holds which host port. Not thread-safe: used from the event loop's thread.

    ``listen``: the sockets accept (the proxy serves what NAT does not reach); otherwise they only hold.
    """

    def __init__(self, *, listen: bool) -> None:
        self._listen = listen
        self._held: dict[tuple[str, int], dict[IpAddress, str]] = {}
        self._last: dict[tuple[IpAddress, str, int, int], int] = {}

    def reserve(
        self,
        request: PortRequest,
        targets: Mapping[IpAddress, IpAddress],
        holder: str,
        *,
        open_: bool = False,
    ) -> list[Reservation]:
        """Take one host port for ``request`` on all its addresses, for the container named ``holder``.

        ``targets``: where each address leads to; ``open_``: that may be reached directly, too.

        Raises PortTaken in Docker's words, with the name of whoever has the port.
        """
        if request.first and request.first == request.last:
            self._check(request, request.first)
            return self._bind(request, request.first, targets, holder, open_=open_)
        for attempt in range(_TRIES):
            port = self._choose(request)
            try:
                return self._bind(request, port, targets, holder, open_=open_)
            except PortTaken:
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("not reached")

    def restore(self, forward: Forward, holder: str) -> Reservation:
        """Take the port of ``forward`` again after a restart; without a socket if another program has it."""
        self._held.setdefault((forward.protocol, forward.host_port), {})[forward.host] = holder
        try:
            listener = self._open(forward)
        except PortTaken:
            listener = None
        return Reservation(forward, listener)

    def release(self, reservation: Reservation) -> None:
        """Give the port back; twice is no error."""
        forward = reservation.forward
        if reservation.listener is not None:
            reservation.listener.close()
            reservation.listener = None
        hosts = self._held.get((forward.protocol, forward.host_port), {})
        hosts.pop(forward.host, None)
        if not hosts:
            self._held.pop((forward.protocol, forward.host_port), None)

    def rename(self, old: str, new: str) -> None:
        """Let the ports of the container ``old`` be held by ``new``."""
        for hosts in self._held.values():
            for host, holder in hosts.items():
                if holder == old:
                    hosts[host] = new

    def _check(self, request: PortRequest, port: int) -> None:
        for host in request.hosts:
            if (holder := self._holder(request.protocol, port, host)) is not None:
                raise PortTaken(
                    f"Bind for {host}:{port} failed: port is already allocated (by container {holder})"
                )

    def _holder(self, protocol: str, port: int, host: IpAddress) -> str | None:
        """Return the container that holds the port on ``host``; any-address meets all of its family."""
        for held, holder in self._held.get((protocol, port), {}).items():
            if held.version == host.version and (held == host or not int(held) or not int(host)):
                return holder
        return None

    def _choose(self, request: PortRequest) -> int:
        """Return the next free port of the range, after the one given out last."""
        first, last = request.first, request.last
        reserved: set[int] = set()
        if not first and not last:
            first, last = _ephemeral_range()
            reserved = _reserved_ports()
        key = (request.hosts[0], request.protocol, first, last)
        start = self._last.get(key, last)
        for step in range(1, last - first + 2):
            port = first + (start - first + step) % (last - first + 1)
            if port not in reserved and all(
                self._holder(request.protocol, port, h) is None for h in request.hosts
            ):
                self._last[key] = port
                return port
        raise PortTaken("all ports are allocated")

    def _bind(
        self,
        request: PortRequest,
        port: int,
        targets: Mapping[IpAddress, IpAddress],
        holder: str,
        *,
        open_: bool,
    ) -> list[Reservation]:
        made: list[Reservation] = []
        try:
            for host in request.hosts:
                forward = Forward(request.protocol, host, port, targets[host], request.port, open=open_)
                made.append(Reservation(forward, self._open(forward)))
                self._held.setdefault((request.protocol, port), {})[host] = holder
        except BaseException:
            for reservation in made:
                self.release(reservation)
            raise
        return made

    def _open(self, forward: Forward) -> socket.socket | None:
        try:
            return _open_listener(forward, listen=self._listen)
        except OSError as error:
            if error.errno in {errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT} and forward.protocol == "sctp":
                return None
            reason = os.strerror(error.errno or 0)
            message = f"failed to bind host port for {forward}: {reason[:1].lower()}{reason[1:]}"
            if error.errno == errno.EADDRINUSE:
                message += find_holder(forward.protocol, forward.host, forward.host_port)
            raise PortTaken(message) from error


_KINDS: Final = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_IP_PKTINFO: Final = 8  # linux/in.h


def _open_listener(forward: Forward, *, listen: bool) -> socket.socket:
    kind, protocol = _KINDS[forward.protocol]
    family = socket.AF_INET if forward.host.version == 4 else socket.AF_INET6
    listener = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if forward.protocol == "udp":  # answers leave from the address that was asked
            if family == socket.AF_INET:
                listener.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            else:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif listen:
            # Connections in TIME_WAIT may not keep the port from us. A listening socket conflicts all the
            # same; one that only holds the port would not, so it goes without.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(forward.host), forward.host_port))
        if listen and forward.protocol != "udp":
            listener.listen(socket.SOMAXCONN)
    except BaseException:
        listener.close()
        raise
    return listener


def _ephemeral_range() -> tuple[int, int]:
    try:
        first, last = (int(part) for part in _RANGE_FILE.read_text().split())
    except (OSError, ValueError):
        return 49153, 65535  # Docker's own fallback
    return first, last


def _reserved_ports() -> set[int]:
    try:
        listed = _RESERVED_FILE.read_text().strip()
    except OSError:
        return set()
    ports: set[int] = set()
    for part in filter(None, listed.split(",")):
        first, _, last = part.partition("-")
        ports.update(range(int(first), int(last or first) + 1))
    return ports
