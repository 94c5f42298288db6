"""Performs firewall plans with nftables. Blocking; runs in the wiring thread."""

import logging
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure
from sampan.kernel import conntrack, nft
from sampan.kernel.netlink import Netlink
from sampan.networks.drift import SeenTable
from sampan.networks.firewall import foreign, legacy, neighbours, rules
from sampan.networks.firewall.base import plan_base
from sampan.networks.model import Forward, Member, Rule

_log = logging.getLogger(__name__)
_TRACKED: Final = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_NUMBERS: Final = {"ip": nft.NFPROTO_IPV4, "ip6": nft.NFPROTO_IPV6, "bridge": nft.NFPROTO_BRIDGE}


class Firewall:
    """The engine's table, and what it has to say in tables of others."""

    def __init__(self) -> None:
        self._nftables: nft.Nftables | None = None
        self._netlink: Netlink | None = None
        self._families: set[str] = set()
        self._bridges = True

    @property
    def between_ports(self) -> bool:
        """Whether the kernel filters what goes from one port of a bridge to another."""
        return self._bridges and self._netlink is not None

    def apply(self, wanted: Sequence[Rule], bridges: Sequence[str]) -> None:
        """Put the table with exactly ``wanted`` in place, at once, whatever was there.

        Raises HostFailure with nftables' own words if it is refused.
        """
        try:
            self._nftables = self._nftables or nft.Nftables()
            self._netlink = self._netlink or nft.open_netfilter()
        except OSError as error:
            raise HostFailure(f"no firewall: {error.strerror}") from error
        if self._bridges and any(rule.family == neighbours.FAMILY for rule in wanted):
            self._bridges = self._has_bridge_family()
        wanted = [rule for rule in wanted if self._known(rule.family)]
        self._run(rules.render(wanted, bridges=self._bridges))
        self._families = {rules.FAMILY, *(rule.family for rule in wanted)}
        self.pass_foreign(bridges)

    def _known(self, family: str) -> bool:
        return self._bridges or family != neighbours.FAMILY

    def _has_bridge_family(self) -> bool:
        """Tell whether the kernel filters between the ports of a bridge, and warn if it does not."""
        if self._nftables is None:
            return False
        table = f"table {neighbours.FAMILY} {rules.TABLE}_probe"
        try:
            self._nftables.run(f"add {table}\ndelete {table}\n")
        except nft.NftError as error:
            _log.warning(
                "containers can forge addresses, and links do not pass icc=false: the kernel has no "
                "CONFIG_NF_TABLES_BRIDGE",
                extra={"error": error.strerror},
            )
            return False
        return True

    def require(self) -> None:
        """Raise HostFailure if there are no tables that rules can be added to."""
        if self._nftables is None:
            raise HostFailure("no firewall: this host's nftables cannot be used")

    def add(self, wanted: Sequence[Rule], families: Collection[str]) -> None:
        """Add the rules of one more network, which needs tables of ``families``, at once.

        Raises HostFailure if they are refused.
        """
        families = {family for family in families if self._known(family)} - self._families
        lines = [f"add table {family} {rules.TABLE}" for family in families]
        base = [rule for family in families for rule in plan_base(family)]
        lines += [rules.render_rule(rule) for rule in (*base, *wanted)]
        self._run("\n".join(lines) + "\n")
        self._families |= families

    def take_back(self, unwanted: Sequence[Rule], *, families: Collection[str]) -> None:
        """Take the rules of one network back, at once; other networks still need the tables of ``families``.

        Raises HostFailure if they are not there.
        """
        needless = self._families - {rules.FAMILY, *families}  # the last network that needed them goes
        lines = [f"delete table {family} {rules.TABLE}\n" for family in needless]
        kept = [rule for rule in unwanted if rule.family not in needless]
        self._run("".join((*lines, rules.render_removal(kept))))
        self._families -= needless

    def look(self, wanted: Sequence[Rule]) -> dict[str, SeenTable]:
        """Return what the kernel has of the tables that ``wanted`` is in, by family. Raises OSError."""
        if self._netlink is None:
            return {}
        seen: dict[str, SeenTable] = {}
        for family in {rules.FAMILY, *(rule.family for rule in wanted if self._known(rule.family))}:
            number = _NUMBERS[family]
            named = {rules.element_of(rule) for rule in wanted if rule.family == family and not rule.chain}
            seen[family] = SeenTable(
                frozenset(nft.list_chains(self._netlink, number, rules.TABLE)),
                Counter(nft.list_comments(self._netlink, number, rules.TABLE)),
                {
                    name: len(nft.list_elements(self._netlink, number, rules.TABLE, name))
                    for kind, name in named
                    if kind == "element"
                },
            )
        return seen

    def listing(self, families: Collection[str]) -> str:
        """Return the tables of ``families``, those that are there, as nftables writes them."""
        if self._nftables is None:
            return ""
        texts = []
        for family in families:
            with suppress(nft.NftError):  # it is not there
                texts.append(self._nftables.run(f"list table {family} {rules.TABLE}\n"))
        return "".join(texts)

    def close(self, *, remove: bool) -> None:
        """Let go of nftables; with ``remove`` take the table and the foreign accepts away."""
        if self._nftables is None or self._netlink is None:
            return
        if remove:
            self.pass_foreign(())
            self._run(rules.render_end(bridges=self._bridges))
        self._nftables.close()
        self._netlink.close()
        self._nftables = self._netlink = None

    def pass_foreign(self, bridges: Sequence[str]) -> None:
        """See to it that firewalls of others which drop by default let the traffic of ``bridges`` pass."""
        if self._netlink is None:
            return
        chains = nft.list_filter_chains(self._netlink, nft.HOOK_FORWARD)
        seen = [
            foreign.ForeignChain(
                nft.FAMILIES[chain.family], chain.table, chain.name, chain.drops, tuple(listed)
            )
            for chain in chains
            if chain.table != rules.TABLE
            for listed in [nft.list_rules(self._netlink, chain)]
        ]
        commands = foreign.plan_accepts(seen, bridges)
        if commands:
            _log.info("adjust foreign forward chains", extra={"nft": "; ".join(commands)})
            self._run("\n".join(commands) + "\n")
        legacy.pass_legacy(bridges)

    def publish(self, forwards: Sequence[Forward], members: Iterable[Member] = ()) -> None:
        """Send what arrives at published ports to the containers, and fill sets. Raises OSError."""
        wanted = self._encode(forwards, members)
        if wanted and self._netlink is not None:
            nft.add_elements(self._netlink, rules.TABLE, wanted)

    def withdraw(self, forwards: Sequence[Forward], members: Iterable[Member] = ()) -> None:
        """Take back ``publish``; what is not there is no error."""
        wanted = self._encode(forwards, members)
        if wanted and self._netlink is not None:
            nft.remove_elements(self._netlink, rules.TABLE, wanted)

    def _encode(self, forwards: Sequence[Forward], members: Iterable[Member]) -> list[nft.Element]:
        elements = [encode(forward) for forward in forwards if forward.by_nat]
        opened = [rules.plan_open(forward, "") for forward in forwards if forward.open]
        elements += [
            nft.Element(member.set, member.key, family=_NUMBERS[member.family])
            for member in (*opened, *members)
            if self._known(member.family)
        ]
        return list(dict.fromkeys(elements))

    def _run(self, commands: str) -> None:
        if self._nftables is None:
            return
        try:
            self._nftables.run(commands)
        except nft.NftError as error:
            numbered = "\n".join(f"{n:4} {line}" for n, line in enumerate(error.commands.splitlines(), 1))
            _log.error("nftables refused", extra={"error": error.strerror, "commands": numbered})
            raise HostFailure(f"nftables refused the engine's rules: {error.strerror}") from error


def forget_flows(flows: Collection[tuple[str, int]]) -> None:
    """Drop tracked flows to the host's (protocol, port): a flow keeps its old destination while packets come.

    May take 10 ms for each protocol, so it is not for the way of a start.
    """
    try:
        if int(_TRACKED.read_text()) == 0:
            return
        with nft.open_netfilter() as netlink:
            for protocol in {protocol for protocol, _ in flows}:
                ports = {port for found, port in flows if found == protocol}
                for family in (nft.NFPROTO_IPV4, nft.NFPROTO_IPV6):
                    conntrack.forget_ports(netlink, rules.PROTOCOLS[protocol], ports, family)
    except OSError as error:
        _log.warning("tracked flows not dropped", extra={"flows": sorted(flows), "error": str(error)})


def encode(forward: Forward) -> nft.Element:
    """Return the map element of ``forward`` in the kernel's encoding: parts padded to four bytes."""
    where, _ = rules.element_key(forward)
    key = struct.pack(">B3xH2x", rules.PROTOCOLS[forward.protocol], forward.host_port)
    if where == rules.PORTS_AT:
        key = forward.host.packed + key
    family = nft.NFPROTO_IPV4 if forward.host.version == 4 else nft.NFPROTO_IPV6
    return nft.Element(where, key, forward.target.packed + struct.pack(">H2x", forward.target_port), family)
