"""Performs network plans on the host: bridges and kernel settings. Blocking; runs in the wiring thread."""

import errno
import hashlib
import logging
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure, NotFound, NotImplementedHere
from sampan.kernel import links, sublinks
from sampan.kernel.links import IpAddress, IpInterface, Link
from sampan.kernel.netlink import Netlink
from sampan.networks.addresses import parse_address
from sampan.networks.defaults import HostView
from sampan.networks.drivers.bridge import is_ours
from sampan.networks.model import Bridge, NetworkPlan, Parent, Sysctl
from sampan.networks.resolv import read_host

_log = logging.getLogger(__name__)
_SYS: Final = Path("/proc/sys")
_ENDS: Final = ("dummy", "bridge")  # a bridge without ports leads nowhere, either


def look_at_host(netlink: Netlink) -> HostView:
    """Return what the host has, for decisions that must not collide with it."""
    return HostView(
        links.list_links(netlink),
        links.list_addresses(netlink),
        [(r.index, r.network) for r in links.list_routes(netlink) if r.network.prefixlen],
        name_servers(),
    )


def look_around() -> HostView:
    """Return the IPv4 prefixes of the host, and its name servers; links are named if they have an address.

    For any thread. Raises OSError.
    """
    with Netlink() as netlink:
        found = links.list_labels(netlink)
        routes = links.list_routes(netlink, socket.AF_INET)
    return HostView(
        [],
        [(index, address) for index, _, address in found],
        [(route.index, route.network) for route in routes if route.network.prefixlen],
        name_servers(),
        names={index: label for index, label, _ in found},
    )


def name_servers() -> list[IpAddress]:
    """Return the name servers that the host asks."""
    servers = (parse_address(server) for server in read_host(follow_systemd=True).servers)
    return [server for server in servers if server is not None]


def find_link(name: str) -> Link | None:
    """Return the host's link ``name``, None if there is none. For any thread. Raises OSError."""
    with Netlink() as netlink:
        return links.find_link(netlink, name)


def check_bridge(bridge: Bridge, present: Link | None) -> None:
    """Raise HostFailure if ``bridge`` cannot be the link ``present`` that has its name."""
    if present is not None and present.kind != "bridge":
        raise HostFailure(f"cannot use {bridge.name} for {bridge.owner}: it exists and is no bridge")


def apply_bridge(netlink: Netlink, bridge: Bridge) -> None:
    """Make ``bridge`` be there as planned.

    One that somebody else made keeps its settings and its addresses. Raises HostFailure if a link of another
    kind has its name, OSError.
    """
    present = links.find_link(netlink, bridge.name)
    check_bridge(bridge, present)
    there: set[IpInterface] = set()
    if present is None:
        _log.info("create bridge", extra={"bridge": bridge.name, "owner": bridge.owner})
        links.create_bridge(
            netlink, bridge.name, mac=mac_of_bridge(bridge.alias), mtu=bridge.mtu, alias=bridge.alias
        )
        index = socket.if_nametoindex(bridge.name)
    else:
        index = present.index
        there = {address for at, address in links.list_addresses(netlink) if at == index}
    if present is not None and is_ours(present.alias):
        if present.alias != bridge.alias:
            links.set_alias(netlink, present.index, bridge.alias)
        if bridge.mtu and present.mtu != bridge.mtu:
            links.set_mtu(netlink, present.index, bridge.mtu)
        for address in there - set(bridge.addresses):
            if address.version == 4:
                links.remove_address(netlink, present.index, address)
    links.configure(netlink, index, [a for a in bridge.addresses if a not in there])


def mac_of_bridge(alias: str) -> str:
    """Return the MAC address of the bridge with that mark, always the same: containers remember it."""
    return (b"\x02\x42" + hashlib.sha256(alias.encode()).digest()[:4]).hex(":")


def release(netlink: Netlink, plan: NetworkPlan) -> list[int]:
    """Take the addresses from the bridges of ``plan``, and with them their routes; return what is to be cut.

    That are the links that are there and this engine's own, by index. Raises OSError.
    """
    found: list[int] = []
    for bridge in plan.bridges:
        link = links.find_link(netlink, bridge.name)
        if link is None or not is_ours(link.alias):
            continue
        found.append(link.index)
        for address in bridge.addresses:
            with suppress(OSError):  # somebody else took it
                links.remove_address(netlink, link.index, address)
    for parent in plan.parents:
        link = links.find_link(netlink, parent.name)
        if link is not None and link.alias == parent.alias:
            found.append(link.index)
    return found


def cut_links(indexes: Iterable[int]) -> None:
    """Delete links; those that are gone are no error. Takes tens of milliseconds for each; for any thread."""
    with Netlink() as netlink:
        for index in indexes:
            try:
                links.remove_link(netlink, index)
            except OSError as error:
                if error.errno != errno.ENODEV:
                    _log.warning("link not removed", extra={"link": index, "error": str(error)})


def remove_bridge(netlink: Netlink, bridge: Bridge) -> None:
    """Delete ``bridge`` if it is there and ours."""
    link = links.find_link(netlink, bridge.name)
    if link is not None and is_ours(link.alias):
        links.remove_link(netlink, link.index)


def apply_parent(netlink: Netlink, parent: Parent) -> None:
    """Make ``parent`` be there as planned; one that somebody else made is used as it is.

    Raises NotFound if it must be there and is not, NotImplementedHere if the kernel has no such kind of
    link, OSError.
    """
    present = {link.name: link for link in links.list_links(netlink)}
    if parent.name in present:
        if not present[parent.name].up and is_ours(present[parent.name].alias):
            links.set_up(netlink, present[parent.name].index)
        return
    if not parent.kind:
        raise NotFound(f"the requested parent interface {parent.name} was not found on the host")
    _log.info("create parent link", extra={"link": parent.name, "kind": parent.kind, "owner": parent.owner})
    if parent.kind == "vlan":
        base = present.get(parent.base)
        if base is None:
            raise NotFound(f"-o parent interface was not found on the host: {parent.base}")
        try:
            sublinks.create_vlan(netlink, parent.name, base.index, parent.number, alias=parent.alias)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            raise missing("vlan", f"sub-interface {parent.name}") from error
        return
    for kind in _ENDS:
        try:
            sublinks.create_end(netlink, parent.name, kind, alias=parent.alias)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            _log.info(
                "the kernel has no such link", extra={"kind": kind, "option": sublinks.OPTIONS.get(kind, "")}
            )
        else:
            return
    raise missing("dummy", f"a parent for {parent.owner}")


def remove_parent(netlink: Netlink, parent: Parent) -> None:
    """Delete ``parent`` if it is there and this network's own."""
    link = links.find_link(netlink, parent.name)
    if link is not None and link.alias == parent.alias:
        links.remove_link(netlink, link.index)


def missing(kind: str, what: str) -> NotImplementedHere:
    """Return the error that says which option of the kernel is missing for links of ``kind``."""
    return NotImplementedHere(f"{what}: this host's kernel has no {kind} links ({sublinks.OPTIONS[kind]})")


def read_sysctl(key: str) -> str:
    """Return the value of the kernel setting ``key``. Raises OSError."""
    return sysctl_path(key).read_text().strip()


def is_needless(sysctl: Sysctl) -> bool:
    """Tell whether the kernel lacks what ``sysctl`` is about: it may have no IPv6."""
    return sysctl.key.startswith("net.ipv6.") and not (_SYS / "net/ipv6").exists()


def apply_sysctl(sysctl: Sysctl) -> None:
    """Set ``sysctl`` if it has another value; a kernel without IPv6 needs none of its. Raises OSError."""
    if is_needless(sysctl):
        return
    before = read_sysctl(sysctl.key)
    if before != sysctl.value:
        _log.info("sysctl -w", extra={"key": sysctl.key, "value": sysctl.value, "before": before})
        sysctl_path(sysctl.key).write_text(sysctl.value)


def sysctl_path(key: str) -> Path:
    """Return the file of a kernel setting; an interface name in ``key`` may contain dots.

    ``net.ipv4.conf.NAME.setting``: the first three and the last part are the kernel's own.
    """
    parts = key.split(".")
    if parts[:2] in (["net", "ipv4"], ["net", "ipv6"]) and parts[2] == "conf" and len(parts) > 5:
        parts = [*parts[:3], ".".join(parts[3:-1]), parts[-1]]
    return _SYS.joinpath(*parts)
