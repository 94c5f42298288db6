"""The blocking half of the network service: everything that it does to the host, in its wiring thread."""

import logging
import os
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sampan.base import faults
from sampan.base.errors import EngineError, HostFailure
from sampan.kernel import links, nft, sublinks
from sampan.kernel.netlink import Netlink
from sampan.networks import apply
from sampan.networks.defaults import HostView
from sampan.networks.dns.service import ResolverSockets
from sampan.networks.drift import Drift, Seen, Wanted
from sampan.networks.drivers.bridge import is_ours
from sampan.networks.firewall.apply import Firewall
from sampan.networks.mend import Mender, look
from sampan.networks.model import (
    Bridge,
    EndpointPlan,
    Forward,
    Member,
    Network,
    NetworkPlan,
    Parent,
    Rule,
    SandboxLink,
    VethLink,
)
from sampan.networks.sandbox import Namespaces, Routes, SeenNamespace

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Wiring:
    """What a sandbox holds of the host; filled while it is being opened, so that half of it can be undone."""

    sandbox_id: str
    path: Path | None = None
    links: list[SandboxLink] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    resolver: ResolverSockets | None = None

    @property
    def ports(self) -> list[str]:
        """The names of its links' ends on the host."""
        return [link.host for link in self.links if isinstance(link, VethLink)]


class HostNetworks:
    """Opens and closes networks and sandboxes on the host. Every method runs in the wiring thread."""

    def __init__(self, directory: Path, *, firewall: bool) -> None:
        self.signature = f"sampan-{os.getpid()}"  # of the wiring thread's transactions of nftables
        self._namespaces = Namespaces(directory, self.signature)
        self._firewall = Firewall() if firewall else None
        self._netlink: Netlink | None = None
        self._mender: Mender | None = None

    def look(self) -> HostView:
        """Return what the host has."""
        with Netlink() as netlink:
            return apply.look_at_host(netlink)

    def open(
        self,
        plans: Sequence[tuple[Network, NetworkPlan]],
        *,
        leaving: Collection[str],
        keep: Collection[str],
        keep_links: Collection[str],
    ) -> dict[str, str]:
        """Make bridges be there as ``plans`` say, and take back what is left of other sandboxes.

        ``leaving`` are links of networks whose removal an engine that was killed did not finish, ``keep`` are
        the namespace paths and ``keep_links`` the veths of sandboxes that live on. Returns why a network (by
        id) cannot be used.
        """
        nft.sign_thread(self.signature)
        self._netlink = Netlink()
        self._namespaces.open(keep)
        self._mender = Mender(self._netlink, self._namespaces, self._firewall)
        self._remove_leftovers({*leaving}.difference(name for _, plan in plans for name in plan.links))
        broken: dict[str, str] = {}
        for network, plan in plans:
            try:
                for bridge in plan.bridges:
                    apply.apply_bridge(self._netlink, bridge)
                    self._remove_strays(bridge.name, keep_links)
                for parent in plan.parents:
                    apply.apply_parent(self._netlink, parent)
            except (EngineError, OSError) as error:
                broken[network.id] = str(error)
                extra = {"network": network.name, "error": str(error)}
                _log.error("network cannot be used", extra=extra)
        return broken

    def apply_firewall(self, wanted: Sequence[Rule], plans: Sequence[NetworkPlan]) -> None:
        """Put the engine's rules in place, all at once, and accepts for bridges into others' tables.

        Then the settings of ``plans``, which are safe only behind the rules. Raises HostFailure if nftables
        is missing or refuses, OSError.
        """
        if self._firewall is not None:
            self._firewall.apply(wanted, [bridge.name for plan in plans for bridge in plan.bridges])
            self._namespaces.isolating = not self._firewall.between_ports
            for sysctl in (sysctl for plan in plans for sysctl in plan.sysctls):
                apply.apply_sysctl(sysctl)

    def mend(self, wanted: Wanted) -> tuple[list[Drift], list[str]]:
        """Make the host be as ``wanted``; return what had drifted, and what could not be mended."""
        if self._mender is None:
            return [], []
        return self._mender.mend(wanted)

    def look_at(self, wanted: Wanted) -> Seen:
        """Return what the host has of ``wanted``. Raises OSError."""
        return look(wanted, self._socket(), self._firewall)

    def look_inside(self, path: Path | None) -> SeenNamespace:
        """Return what the namespace bound at ``path`` (None: the host's) has. Raises OSError."""
        return self._namespaces.look_inside(path)

    def list_firewall(self, families: Collection[str]) -> str:
        """Return the engine's tables of ``families`` in nftables' language, "" without a firewall."""
        return self._firewall.listing(families) if self._firewall is not None else ""

    def restore_resolver(self, wiring: Wiring) -> bool:
        """Let questions reach the resolver of ``wiring`` again; tell whether they did not. Raises OSError."""
        if wiring.path is None or wiring.resolver is None:
            return False
        return self._namespaces.restore_resolver(wiring.path, wiring.resolver)

    def close(self, plans: Sequence[NetworkPlan], *, remove: bool) -> None:
        """Let go of the kernel; with ``remove`` take everything away that ``plans`` and ``open`` made."""
        steps: list[Callable[[], None]] = [lambda: self._namespaces.close(remove=remove)]
        if self._firewall is not None:
            firewall = self._firewall
            steps.append(lambda: firewall.close(remove=remove))
        if remove:
            steps += [partial(self._remove_bridge, bridge) for plan in plans for bridge in plan.bridges]
            steps += [partial(self._remove_parent, parent) for plan in plans for parent in plan.parents]
        failures: list[Exception] = []
        for step in steps:
            try:
                step()
            except (EngineError, OSError) as error:
                failures.append(error)
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None
        if failures:
            raise ExceptionGroup("networks could not be closed", failures)

    def open_sandbox(
        self,
        wiring: Wiring,
        plans: Sequence[EndpointPlan],
        write_files: Callable[[], None],
        *,
        resolver: bool,
    ) -> None:
        """Give ``wiring`` a namespace with the links of ``plans``, publish its ports, write its files.

        ``resolver``: it gets the sockets of one. Raises HostFailure; ``close_sandbox`` then undoes what was
        done.
        """
        wiring.path = self._namespaces.path_of(wiring.sandbox_id)
        wiring.links = [link for plan in plans for link in plan.links]
        wiring.members += [member for plan in plans for member in plan.members]
        try:
            wiring.resolver = self._namespaces.open_at(wiring.path, wiring.links, resolver=resolver)
            self.publish(wiring.forwards, wiring.members)
        except OSError as error:
            raise HostFailure(_explain(error)) from error
        faults.point("networks.sandbox.files")
        write_files()

    def attach(self, wiring: Wiring, plan: EndpointPlan, *, resolver: bool) -> None:
        """Give an open sandbox the links of ``plan``; ``resolver``: and the sockets of one.

        Raises HostFailure; ``detach`` undoes what was done.
        """
        if wiring.path is None:
            return
        try:
            wiring.members += plan.members
            for link in plan.links:
                wiring.links.append(link)
                self._namespaces.attach(wiring.path, link)
            self.publish((), plan.members)
            if resolver:
                wiring.resolver = self._namespaces.open_resolver(wiring.path)
        except OSError as error:
            raise HostFailure(_explain(error)) from error

    def detach(self, wiring: Wiring, plan: EndpointPlan) -> None:
        """Take the links of ``plan`` from an open sandbox; what is gone is no error. Raises HostFailure."""
        try:
            names = {link.inside.ifname for link in plan.links}  # routes may have changed since
            for link in [link for link in wiring.links if link.inside.ifname in names]:
                if wiring.path is not None:
                    self._namespaces.detach(wiring.path, link)
                wiring.links.remove(link)
            if self._firewall is not None:
                self._firewall.withdraw((), plan.members)
            wiring.members = [member for member in wiring.members if member not in plan.members]
        except OSError as error:
            raise HostFailure(_explain(error)) from error

    def set_routes(self, wiring: Wiring, routes: Routes) -> None:
        """Set the default routes of an open sandbox. Raises HostFailure."""
        try:
            if wiring.path is not None:
                self._namespaces.set_routes(wiring.path, routes)
        except OSError as error:
            raise HostFailure(_explain(error)) from error

    def make_socket(self, path: Path, family: int, kind: int) -> socket.socket:
        """Return a non-blocking socket of the namespace bound at ``path``. Raises OSError."""
        return self._namespaces.make_socket(path, family, kind)

    def reopen_resolver(self, wiring: Wiring) -> None:
        """Make the sockets of a resolver in a sandbox that lived on without the daemon. Raises OSError."""
        if wiring.path is not None:
            wiring.resolver = self._namespaces.open_resolver(wiring.path)

    def require(self, kinds: Sequence[str]) -> None:
        """Raise NotImplementedHere, naming the kernel's option, if it lacks one of these kinds of links."""
        for kind in kinds:
            if not sublinks.supports(self._socket(), kind):
                raise apply.missing(kind, f"{kind} networks")

    def require_firewall(self) -> None:
        """Raise HostFailure if there shall be rules, and cannot be any. For any thread."""
        if self._firewall is not None:
            self._firewall.require()

    def create_network(self, plan: NetworkPlan, *, bridges: Sequence[str]) -> None:
        """Make everything that ``plan`` says; ``bridges`` are those of all networks.

        Raises HostFailure; ``release_network`` undoes it.
        """
        try:
            if plan.rules:
                self.require_firewall()
            for bridge in plan.bridges:
                apply.apply_bridge(self._socket(), bridge)
            for parent in plan.parents:
                apply.apply_parent(self._socket(), parent)
            faults.point("networks.create.bridge")
            if self._firewall is not None and plan.rules:
                self._firewall.add(plan.rules, plan.families)
                self._firewall.pass_foreign(bridges)
            faults.point("networks.create.firewall")
            for sysctl in plan.sysctls:
                apply.apply_sysctl(sysctl)
        except OSError as error:
            raise HostFailure(_explain(error)) from error

    def release_network(
        self, plan: NetworkPlan, *, bridges: Sequence[str], families: Collection[str]
    ) -> tuple[list[int], str]:
        """Take back ``create_network``, all of it or the part that was done, but for the links.

        The other networks have ``bridges`` and rules of ``families``. Returns the links that are to be cut,
        by index, and why rules could not be taken back ("": they were).
        """
        found: list[int] = []
        try:
            found = apply.release(self._socket(), plan)
            if self._firewall is not None and plan.rules:
                self._firewall.take_back(plan.rules, families=families)
                self._firewall.pass_foreign(bridges)
        except HostFailure as error:
            return found, str(error)
        except OSError as error:
            return found, _explain(error)
        return found, ""

    def _socket(self) -> Netlink:
        if self._netlink is None:
            raise HostFailure("the network service is closed")
        return self._netlink

    def withdraw(self, forwards: Sequence[Forward], members: Sequence[Member] = ()) -> None:
        """Take published ports and ``members`` out of the firewall; those that are not there are no error."""
        if self._firewall is not None and (forwards or members):
            try:
                self._firewall.withdraw(forwards, members)
            except OSError as error:
                raise HostFailure(_explain(error)) from error

    def publish(self, forwards: Sequence[Forward], members: Sequence[Member] = ()) -> None:
        """Put published ports and ``members`` into the firewall."""
        faults.point("networks.sandbox.firewall")
        if self._firewall is not None and (forwards or members):
            self._firewall.publish(forwards, members)

    def close_sandbox(self, wiring: Wiring) -> None:
        """Take back ``open_sandbox``, all of it or the part that was done. Raises HostFailure at the end."""
        failures: list[str] = []
        if wiring.resolver is not None:  # an open socket would keep the namespace
            wiring.resolver.close()
            wiring.resolver = None
        try:
            self.withdraw(wiring.forwards, wiring.members)
        except HostFailure as error:
            failures.append(str(error))
        if (path := wiring.path) is not None:
            # Veths go with the namespace; a parent may be waited for, and what a plugin made is its own.
            for link in wiring.links:
                if not isinstance(link, VethLink):
                    with suppress(OSError):  # it was never made, or went with its parent
                        self._namespaces.detach(path, link)
            try:
                self._namespaces.drop(path)
            except OSError as error:
                failures.append(_explain(error))
        if failures:
            raise HostFailure("; ".join(failures))

    def refill(self) -> None:
        """Prepare namespaces for the next sandboxes."""
        self._namespaces.refill()

    def remove_links(self, names: Collection[str]) -> None:
        """Delete those links in ``names`` that are still there: somebody holds their namespace."""
        try:
            self._namespaces.remove_links(names)
        except OSError as error:
            _log.warning("link not removed", extra={"error": str(error)})

    def _remove_strays(self, bridge: str, keep: Collection[str]) -> None:
        """Delete the ports of ``bridge`` that no living sandbox has: their addresses may be leased again."""
        if self._netlink is None:
            return
        present = links.list_links(self._netlink)
        masters = {link.index for link in present if link.name == bridge and is_ours(link.alias)}
        for link in present:
            if link.master in masters and link.kind == "veth" and link.name not in keep:
                with suppress(OSError):  # it goes by itself with its namespace, which was just dropped
                    links.remove_link(self._netlink, link.index)

    def _remove_leftovers(self, names: Collection[str]) -> None:
        """Delete those of ``names`` that are bridges with the engine's mark."""
        for link in links.list_links(self._socket()) if names else ():
            if link.name in names and link.kind == "bridge" and is_ours(link.alias):
                _log.info("remove a bridge that no network has", extra={"bridge": link.name})
                with suppress(OSError):  # it went in this moment
                    links.remove_link(self._socket(), link.index)

    def _remove_parent(self, parent: Parent) -> None:
        if self._netlink is not None:
            apply.remove_parent(self._netlink, parent)

    def _remove_bridge(self, bridge: Bridge) -> None:
        if self._netlink is not None:
            apply.remove_bridge(self._netlink, bridge)


def ipv6_available() -> bool:
    """Tell whether the host can listen on IPv6 addresses."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _explain(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
