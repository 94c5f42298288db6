"""The namespaces of sandboxes: made in advance, wired, dropped.

Everything here blocks and runs in one thread of its own (the *wiring thread*), which keeps the sockets to the
kernel. To make a namespace and bring its loopback up takes longer than to wire it, so a few are kept ready:
as open descriptors only, which leave no trace however the daemon ends.
"""

import logging
import os
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from sampan.base import faults
from sampan.base.ids import short_id
from sampan.kernel import links, namespaces, nft
from sampan.kernel.links import IpAddress
from sampan.kernel.netlink import Netlink
from sampan.kernel.redirect import redirect_port
from sampan.networks.dns.service import ADDRESS as RESOLVER
from sampan.networks.dns.service import ResolverSockets
from sampan.networks.model import VethLink

_log = logging.getLogger(__name__)
_LOOPBACK: Final = 1  # the index of lo in every namespace
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_RESOLVER_TABLE: Final = "sampan_dns"
_RESOLVER_PORT: Final = 53
_BACKLOG: Final = 64
Routes = Mapping[int, tuple[str, IpAddress] | None]
"""Default routes by IP version: interface and gateway, None for none."""
SPARE: Final = 2
"""How many namespaces are kept ready."""


class Namespaces:
    """The namespaces bound in ``directory``. Every method runs in the wiring thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._spare: list[int] = []
        self._home = -1
        self._netlink: Netlink | None = None

    def open(self, keep: Collection[str]) -> None:
        """Take the directory over; drop every namespace in it whose path is not in ``keep``."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._home = namespaces.open_own_network()
        self._netlink = Netlink()
        for path in self._directory.iterdir():
            if str(path) not in keep:
                namespaces.drop_network(path)

    def close(self, *, remove: bool) -> None:
        """Drop the spare namespaces; with ``remove`` the directory, too, which must be empty by then."""
        while self._spare:
            os.close(self._spare.pop())
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None
            os.close(self._home)
        if remove:
            with suppress(FileNotFoundError):
                self._directory.rmdir()

    def path_of(self, sandbox_id: str) -> Path:
        """Return where the namespace of a sandbox is bound."""
        return self._directory / short_id(sandbox_id)

    def open_at(self, path: Path, wanted: Sequence[VethLink], *, resolver: bool) -> ResolverSockets | None:
        """Bind a namespace to ``path``, its loopback up, with the links ``wanted``.

        ``resolver``: return the sockets of one. Raises OSError; ``drop`` undoes all of it, or the part that
        was done.
        """
        faults.point("networks.sandbox.netns")
        descriptor = self._spare.pop() if self._spare else self._make()
        try:
            namespaces.bind_network(descriptor, path)
            for link in wanted:
                self._link(descriptor, link)
            return self._open_resolver(descriptor) if resolver else None
        finally:
            os.close(descriptor)

    def attach(self, path: Path, link: VethLink) -> None:
        """Give the namespace bound at ``path`` one more link. Raises OSError."""
        with _opened(path) as descriptor:
            self._link(descriptor, link)

    def detach(self, name: str) -> None:
        """Take the link whose end here is ``name``; one that is gone is no error."""
        netlink = self._socket()
        try:
            links.remove_link(netlink, socket.if_nametoindex(name))
        except OSError:
            if any(link.name == name for link in links.list_links(netlink)):
                raise

    def set_routes(self, path: Path, routes: Routes) -> None:
        """Set the default routes of the namespace bound at ``path``. Raises OSError."""
        with _opened(path) as descriptor:
            with namespaces.entered_network(descriptor, self._home):
                inner = Netlink()
                indexes = {route[0]: socket.if_nametoindex(route[0]) for route in routes.values() if route}
            with inner:
                for version, route in routes.items():
                    if route is None:
                        links.remove_default_route(inner, _FAMILIES[version])
                    else:
                        links.set_default_route(inner, indexes[route[0]], route[1])

    def make_socket(self, path: Path, family: int, kind: int) -> socket.socket:
        """Return a non-blocking socket of the namespace bound at ``path``. Raises OSError."""
        with _opened(path) as descriptor, namespaces.entered_network(descriptor, self._home):
            made = socket.socket(family, kind | socket.SOCK_CLOEXEC)
        made.settimeout(0)
        return made

    def open_resolver(self, path: Path) -> ResolverSockets:
        """Return the sockets of a resolver in the namespace bound at ``path``. Raises OSError."""
        with _opened(path) as descriptor:
            return self._open_resolver(descriptor, renew=True)

    def _open_resolver(self, descriptor: int, *, renew: bool = False) -> ResolverSockets:
        faults.point("networks.sandbox.resolver")
        with namespaces.entered_network(descriptor, self._home):
            sockets = ResolverSockets(
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC),
                socket.socket(
                    socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
                ),
            )
            try:
                netfilter = nft.open_netfilter()
            except BaseException:
                sockets.close()
                raise
        try:
            with netfilter:
                targets = {}
                for sock, protocol in ((sockets.udp, socket.IPPROTO_UDP), (sockets.tcp, socket.IPPROTO_TCP)):
                    sock.bind((RESOLVER, 0))
                    targets[protocol] = sock.getsockname()[1]
                sockets.tcp.listen(_BACKLOG)
                redirect_port(
                    netfilter, _RESOLVER_TABLE, IPv4Address(RESOLVER), _RESOLVER_PORT, targets, renew=renew
                )
        except BaseException:
            sockets.close()
            raise
        return sockets

    def refill(self) -> None:
        """Make up for the spare namespaces that were taken."""
        try:
            while self._netlink is not None and len(self._spare) < SPARE:
                self._spare.append(self._make())
        except OSError as error:
            _log.warning("cannot prepare a network namespace", extra={"error": str(error)})

    def drop(self, path: Path) -> None:
        """Let go of the namespace bound at ``path``; its links go with it, a moment later."""
        namespaces.drop_network(path)

    def remove_links(self, names: Collection[str]) -> None:
        """Delete those links of the host that are in ``names``: their namespace is still held by somebody."""
        netlink = self._socket()
        for link in links.list_links(netlink):
            if link.name in names:
                with suppress(OSError):  # it went by itself in this moment
                    links.remove_link(netlink, link.index)

    def _link(self, descriptor: int, link: VethLink) -> None:
        netlink = self._socket()
        faults.point("networks.sandbox.link")
        bridge = socket.if_nametoindex(link.bridge)
        pair = links.Veth(link.host, bridge, link.ifname, link.mac, link.mtu, descriptor)
        links.create_veth(netlink, pair)
        port = socket.if_nametoindex(link.host)
        links.set_bridge_port(netlink, port, mac=link.mac, hairpin=True, isolated=link.isolated)
        faults.point("networks.sandbox.address")
        with namespaces.entered_network(descriptor, self._home):
            inner = Netlink()
            index = socket.if_nametoindex(link.ifname)
            if not any(address.version == 6 for address in link.addresses):
                _disable_ipv6(link.ifname)
        with inner:
            links.configure(inner, index, link.addresses, link.gateways)

    def _make(self) -> int:
        descriptor = namespaces.create_network(self._home)
        try:
            with namespaces.entered_network(descriptor, self._home):
                inner = Netlink()
            with inner:
                links.set_up(inner, _LOOPBACK)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _socket(self) -> Netlink:
        if self._netlink is None:
            raise RuntimeError("namespaces are not open")
        return self._netlink


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _disable_ipv6(ifname: str) -> None:
    """Keep IPv6 off an interface whose network has none, as Docker does: no router advertisements."""
    with suppress(FileNotFoundError):  # the kernel has no IPv6
        descriptor = os.open(f"/proc/sys/net/ipv6/conf/{ifname}/disable_ipv6", os.O_WRONLY)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)
