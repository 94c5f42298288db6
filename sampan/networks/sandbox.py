"""The namespaces of sandboxes: made in advance, wired, dropped.

Everything here blocks and runs in one thread of its own (the *wiring thread*), which keeps the sockets to the
kernel. To make a namespace and bring its loopback up takes longer than to wire it, so a few are kept ready:
as open descriptors only, which leave no trace however the daemon ends.
"""

import errno
import logging
import os
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from sampan.base import faults
from sampan.base.errors import HostFailure
from sampan.base.ids import short_id
from sampan.kernel import links, namespaces, nft, sublinks
from sampan.kernel.links import IpAddress, IpInterface, Link, Route
from sampan.kernel.netlink import Netlink
from sampan.kernel.redirect import RULES, redirect_port
from sampan.networks.apply import missing, sysctl_path
from sampan.networks.dns.service import ADDRESS as RESOLVER
from sampan.networks.dns.service import ResolverSockets
from sampan.networks.model import Inside, MovedLink, SandboxLink, SubLink, VethLink

_log = logging.getLogger(__name__)
_LOOPBACK: Final = 1  # the index of lo in every namespace
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_RESOLVER_TABLE: Final = "sampan_dns"
_RESOLVER_PORT: Final = 53
_REDIRECTED: Final = (socket.IPPROTO_UDP, socket.IPPROTO_TCP)
_BACKLOG: Final = 64
Routes = Mapping[int, tuple[str, IpAddress | None] | None]
"""Default routes by IP version: interface and gateway (None: the link itself), None for none."""
SPARE: Final = 2
"""How many namespaces are kept ready."""


@dataclass(frozen=True, slots=True)
class SeenNamespace:
    """What a network namespace has: addresses by the link's index, routes of the main table."""

    inode: int
    path: str
    links: Sequence[Link]
    addresses: Sequence[tuple[int, IpInterface]]
    routes: Sequence[Route]


class Namespaces:
    """The namespaces bound in ``directory``. Every method runs in the wiring thread.

    ``isolating``: nothing else keeps the neighbours of a closed network apart, so their ports are isolated.
    """

    def __init__(self, directory: Path, signature: str) -> None:
        self._directory = directory
        self.isolating = True
        self._signature = signature
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

    def open_at(self, path: Path, wanted: Sequence[SandboxLink], *, resolver: bool) -> ResolverSockets | None:
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

    def attach(self, path: Path, link: SandboxLink) -> None:
        """Give the namespace bound at ``path`` one more link. Raises OSError."""
        with _opened(path) as descriptor:
            self._link(descriptor, link)

    def reattach(self, link: VethLink) -> None:
        """Make the host's end of ``link``, which exists, a port of its bridge again. Raises OSError."""
        netlink = self._socket()
        port = socket.if_nametoindex(link.host)
        links.set_master(netlink, port, socket.if_nametoindex(link.bridge))
        isolated = link.isolated and self.isolating
        links.set_bridge_port(netlink, port, mac=link.inside.mac, hairpin=True, isolated=isolated)

    def detach(self, path: Path, link: SandboxLink) -> None:
        """Take ``link`` from the namespace bound at ``path``; it may be gone already. Raises OSError."""
        if isinstance(link, VethLink):
            self._remove(link.host)
            return
        with _opened(path) as descriptor, namespaces.entered_network(descriptor, self._home):
            inner = Netlink()
        with inner:
            names = {link.inside.ifname, link.source}
            index = next((found.index for found in links.list_links(inner) if found.name in names), 0)
            if index and isinstance(link, SubLink):
                links.remove_link(inner, index)
            elif index and isinstance(link, MovedLink):
                sublinks.move_link(inner, index, link.source, self._home)

    def _remove(self, name: str) -> None:
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
                        links.set_default_route(inner, indexes[route[0]], version, route[1])

    def make_socket(self, path: Path, family: int, kind: int) -> socket.socket:
        """Return a non-blocking socket of the namespace bound at ``path``. Raises OSError."""
        with _opened(path) as descriptor, namespaces.entered_network(descriptor, self._home):
            made = socket.socket(family, kind | socket.SOCK_CLOEXEC)
        made.settimeout(0)
        return made

    def look_inside(self, path: Path | None) -> SeenNamespace:
        """Return what the namespace bound at ``path`` (None: the host's) has. Raises OSError."""
        if path is None:
            return _look(self._socket(), os.fstat(self._home).st_ino, "")
        with _opened(path) as descriptor:
            with namespaces.entered_network(descriptor, self._home):
                inner = Netlink()
            with inner:
                return _look(inner, os.fstat(descriptor).st_ino, str(path))

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
            for sock in (sockets.udp, sockets.tcp):
                sock.bind((RESOLVER, 0))
            sockets.tcp.listen(_BACKLOG)
            _redirect(netfilter, sockets, renew=renew)
            sockets.rules = nft.RulesetEvents(self._signature, netfilter)
        except BaseException:
            netfilter.close()
            sockets.close()
            raise
        return sockets

    def restore_resolver(self, path: Path, sockets: ResolverSockets) -> bool:
        """Put back what leads questions to ``sockets`` in the namespace at ``path``; tell if it was gone.

        Raises OSError.
        """
        with _opened(path) as descriptor, namespaces.entered_network(descriptor, self._home):
            netfilter = nft.open_netfilter()
        with netfilter:
            there = nft.list_comments(netfilter, nft.NFPROTO_IPV4, _RESOLVER_TABLE)
            if len(there) == RULES * len(_REDIRECTED):
                return False
            _redirect(netfilter, sockets, renew=True)
        return True

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

    def _link(self, descriptor: int, link: SandboxLink) -> None:
        netlink, inside = self._socket(), link.inside
        faults.point("networks.sandbox.link")
        if isinstance(link, VethLink):
            bridge = socket.if_nametoindex(link.bridge)
            pair = links.Veth(link.host, bridge, inside.ifname, inside.mac, inside.mtu, descriptor)
            links.create_veth(netlink, pair)
            port = socket.if_nametoindex(link.host)
            isolated = link.isolated and self.isolating
            links.set_bridge_port(netlink, port, mac=inside.mac, hairpin=True, isolated=isolated)
        elif isinstance(link, SubLink):
            self._sublink(descriptor, link)
        else:
            sublinks.move_link(netlink, _index(link.source), inside.ifname, descriptor)
        faults.point("networks.sandbox.address")
        with namespaces.entered_network(descriptor, self._home):
            born = link.source if isinstance(link, SubLink) else inside.ifname
            index = socket.if_nametoindex(born)
            if not any(address.version == 6 for address in inside.addresses):
                _disable_ipv6(born)
            inner = Netlink()
        with inner:
            if born != inside.ifname:
                links.rename(inner, index, inside.ifname)
            if inside.sysctls:
                with namespaces.entered_network(descriptor, self._home):
                    _set_sysctls(inside)
            if isinstance(link, MovedLink):
                links.set_mac(inner, index, inside.mac)
            links.configure(
                inner, index, inside.addresses, inside.gateways, direct=inside.direct, routes=inside.routes
            )

    def _sublink(self, descriptor: int, link: SubLink) -> None:
        inside = link.inside
        wanted = sublinks.Sublink(
            link.kind,
            link.source,  # older kernels (6.1) look for an equal name where the parent is
            _index(link.parent),
            link.mode,
            descriptor,
            flag=link.flag,
            mac=inside.mac,
            mtu=inside.mtu,
        )
        try:
            sublinks.create_sublink(self._socket(), wanted)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            raise missing(link.kind, inside.reason) from error

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


def _redirect(netfilter: Netlink, sockets: ResolverSockets, *, renew: bool) -> None:
    targets = {
        protocol: sock.getsockname()[1]
        for protocol, sock in zip(_REDIRECTED, (sockets.udp, sockets.tcp), strict=True)
    }
    redirect_port(netfilter, _RESOLVER_TABLE, IPv4Address(RESOLVER), _RESOLVER_PORT, targets, renew=renew)


def _look(netlink: Netlink, inode: int, path: str) -> SeenNamespace:
    addresses = links.list_addresses(netlink)
    return SeenNamespace(inode, path, links.list_links(netlink), addresses, links.list_routes(netlink))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _index(name: str) -> int:
    """Return the index of the host's link ``name``. Raises HostFailure if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise HostFailure(f"the requested parent interface {name} was not found on the host") from error


def _set_sysctls(inside: Inside) -> None:
    """Set the settings of an interface that were asked for, in the namespace that the thread is in."""
    for entry in inside.sysctls:
        key, _, value = entry.partition("=")
        parts = key.split(".", 4)
        path = sysctl_path(".".join((*parts[:3], inside.ifname, parts[4])))
        try:
            path.write_text(value)
        except OSError as error:
            raise HostFailure(f"unable to set sysctl {key}={value}: {error.strerror}") from error


def _disable_ipv6(ifname: str) -> None:
    """Keep IPv6 off an interface whose network has none, as Docker does: no router advertisements."""
    with suppress(FileNotFoundError):  # the kernel has no IPv6
        descriptor = os.open(f"/proc/sys/net/ipv6/conf/{ifname}/disable_ipv6", os.O_WRONLY)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)
