"""The namespaces of sandboxes: made in advance, wired, dropped.

Everything here blocks and runs in one thread of its own (the *wiring thread*), which keeps the sockets to the
kernel. To make a namespace and bring its loopback up takes longer than to wire it, so a few are kept ready:
as open descriptors only, which leave no trace however the daemon ends.
"""

import logging
import os
import socket
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sampan.base import faults
from sampan.base.ids import short_id
from sampan.kernel import links, namespaces
from sampan.kernel.netlink import Netlink
from sampan.networks.model import VethLink

_log = logging.getLogger(__name__)
_LOOPBACK: Final = 1  # the index of lo in every namespace
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

    def open_at(self, path: Path, wanted: Sequence[VethLink]) -> None:
        """Bind a namespace to ``path``, its loopback up, with the links ``wanted``.

        Raises OSError; ``drop`` undoes all of it, or the part that was done.
        """
        faults.point("networks.sandbox.netns")
        descriptor = self._spare.pop() if self._spare else self._make()
        try:
            namespaces.bind_network(descriptor, path)
            for link in wanted:
                self._link(descriptor, link)
        finally:
            os.close(descriptor)

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
            _disable_ipv6(link.ifname)
        with inner:
            links.configure(inner, index, [link.address], [link.gateway] if link.gateway else [])

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


def _disable_ipv6(ifname: str) -> None:
    """Keep IPv6 off an interface whose network has none, as Docker does: no router advertisements."""
    with suppress(FileNotFoundError):  # the kernel has no IPv6
        descriptor = os.open(f"/proc/sys/net/ipv6/conf/{ifname}/disable_ipv6", os.O_WRONLY)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)
