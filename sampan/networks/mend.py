"""Reads what the kernel has of the engine, and mends what differs. Blocking; in the wiring thread."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sampan.base.errors import EngineError
from sampan.kernel import links, namespaces
from sampan.kernel.links import IpInterface
from sampan.kernel.netlink import Netlink
from sampan.networks import apply
from sampan.networks.drift import Drift, Seen, Wanted, compare
from sampan.networks.firewall.apply import Firewall
from sampan.networks.model import Bridge, Parent, Rule, SubLink, Sysctl, VethLink
from sampan.networks.sandbox import Namespaces

_log = logging.getLogger(__name__)


def look(wanted: Wanted, netlink: Netlink, firewall: Firewall | None) -> Seen:
    """Return what the kernel has of ``wanted``. Raises OSError."""
    present = {link.name: link for link in links.list_links(netlink)}
    addresses: defaultdict[int, set[IpInterface]] = defaultdict(set)
    for index, address in links.list_addresses(netlink):
        addresses[index].add(address)
    settings: dict[str, str | None] = {}
    for sysctl in wanted.sysctls:
        settings[sysctl.key] = sysctl.value if apply.is_needless(sysctl) else None
        with suppress(FileNotFoundError):
            settings[sysctl.key] = apply.read_sysctl(sysctl.key)
    gone = {
        sandbox.owner
        for sandbox in wanted.sandboxes
        if any(isinstance(link, VethLink) and link.host not in present for link in sandbox.links)
        and not namespaces.is_bound(sandbox.path)
    }
    return Seen(
        present,
        {index: frozenset(found) for index, found in addresses.items()},
        settings,
        firewall.look(wanted.rules) if firewall is not None else None,
        frozenset(gone),
    )


class Mender:
    """Mends what has drifted. A bridge that somebody else made is not made again when it is gone."""

    def __init__(self, netlink: Netlink, namespaces_: Namespaces, firewall: Firewall | None) -> None:
        self._netlink = netlink
        self._namespaces = namespaces_
        self._firewall = firewall
        self._foreign: set[str] = set()

    def mend(self, wanted: Wanted) -> tuple[list[Drift], list[str]]:
        """Make the kernel be as ``wanted``; return what had drifted, and why some of it could not be mended.

        The firewalls of others are looked at, too. Raises OSError if the kernel cannot be read.
        """
        seen = look(wanted, self._netlink, self._firewall)
        self._learn(wanted, seen)
        drifts = [drift for drift in compare(wanted, seen) if not self._out_of_hand(drift, seen)]
        failures: list[str] = []
        boxes = [(link, box.path) for box in wanted.sandboxes for link in box.links]
        paths = {link.host: path for link, path in boxes if isinstance(link, VethLink)}
        bridges: set[str] = set()
        rules_done = False
        for drift in drifts:
            try:
                match drift.effect:
                    case Bridge() as bridge if bridge.name not in bridges:
                        bridges.add(bridge.name)
                        apply.apply_bridge(self._netlink, bridge)
                    case Parent() as parent:
                        apply.apply_parent(self._netlink, parent)
                        for link, path in boxes if parent.name not in seen.links else ():
                            if isinstance(link, SubLink) and link.parent == parent.name:
                                self._namespaces.attach(path, link)  # it went with its parent
                    case VethLink() as link:
                        self._mend_link(link, paths[link.host], missing=link.host not in seen.links)
                    case Sysctl() as sysctl:
                        apply.apply_sysctl(sysctl)
                    case Rule() | None if not rules_done and self._firewall is not None:
                        rules_done = True
                        self._firewall.apply(wanted.rules, [bridge.name for bridge in wanted.bridges])
            except (EngineError, OSError) as error:
                failures.append(f"{drift}: {error}")
        if self._firewall is not None and not rules_done:
            try:
                self._firewall.pass_foreign([bridge.name for bridge in wanted.bridges])
            except (EngineError, OSError) as error:
                failures.append(f"firewalls of others: {error}")
        return drifts, failures

    def _mend_link(self, link: VethLink, path: Path, *, missing: bool) -> None:
        if not missing:
            self._namespaces.reattach(link)
            return
        try:
            self._namespaces.attach(path, link)
        except FileNotFoundError:  # the container ended in this moment
            _log.debug("no namespace", extra={"path": str(path), "link": link.host})

    def _learn(self, wanted: Wanted, seen: Seen) -> None:
        for bridge in wanted.bridges:
            link = seen.links.get(bridge.name)
            if link is not None and link.alias != bridge.alias:
                self._foreign.add(bridge.name)
            elif link is not None:
                self._foreign.discard(bridge.name)

    def _out_of_hand(self, drift: Drift, seen: Seen) -> bool:
        """Tell whether ``drift`` has to wait for a bridge that is the administrator's to make again."""
        match drift.effect:
            case Bridge() as bridge:
                return bridge.name in self._foreign
            case VethLink() as link:
                return link.bridge in self._foreign and link.bridge not in seen.links
            case Sysctl() as sysctl:
                return drift.state == "missing" and any(f".{name}." in sysctl.key for name in self._foreign)
        return False


def names_of(drifts: Sequence[Drift], most: int) -> str:
    """Return what drifted, at most ``most`` of it, as one text for a log or an event."""
    more = [f"{len(drifts) - most} more"] if len(drifts) > most else []
    return "; ".join([*map(str, drifts[:most]), *more])
