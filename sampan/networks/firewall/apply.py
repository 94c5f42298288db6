"""Performs firewall plans with nftables. Blocking; runs in the wiring thread."""

import logging
import struct
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure
from sampan.kernel import conntrack, nft
from sampan.kernel.netlink import Netlink
from sampan.networks.firewall import foreign, legacy, rules
from sampan.networks.model import Forward, Rule

_log = logging.getLogger(__name__)
_TRACKED: Final = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132}


class Firewall:
    """The engine's table, and what it has to say in tables of others."""

    def __init__(self) -> None:
        self._nftables: nft.Nftables | None = None
        self._netlink: Netlink | None = None
        self._families: set[str] = set()

    def apply(self, wanted: Sequence[Rule], bridges: Sequence[str]) -> None:
        """Put the table with exactly ``wanted`` in place, at once, whatever was there.

        Raises HostFailure with nftables' own words if it is refused.
        """
        try:
            self._nftables = self._nftables or nft.Nftables()
            self._netlink = self._netlink or nft.open_netfilter()
        except OSError as error:
            raise HostFailure(f"no firewall: {error.strerror}") from error
        self._run(rules.render(wanted))
        self._families = {rules.FAMILY, *(rule.family for rule in wanted)}
        self.pass_foreign(bridges)

    def add(self, wanted: Sequence[Rule]) -> None:
        """Add the rules of one more network, at once. Raises HostFailure if they are refused."""
        families = {rule.family for rule in wanted} - self._families
        lines = [f"add table {family} {rules.TABLE}" for family in families]
        base = [rule for family in families for rule in rules.plan_base(family)]
        lines += [rules.render_rule(rule) for rule in (*base, *wanted)]
        self._run("\n".join(lines) + "\n")
        self._families |= families

    def take_back(self, unwanted: Sequence[Rule], *, families: Collection[str]) -> None:
        """Take the rules of one network back, at once; other networks still need the tables of ``families``.

        Raises HostFailure if they are not there.
        """
        needless = self._families - {rules.FAMILY, *families}
        lines = [f"delete table {family} {rules.TABLE}\n" for family in needless]
        kept = [rule for rule in unwanted if rule.family not in needless]
        self._run("".join((*lines, rules.render_removal(kept))))
        self._families -= needless

    def close(self, *, remove: bool) -> None:
        """Let go of nftables; with ``remove`` take the table and the foreign accepts away."""
        if self._nftables is None or self._netlink is None:
            return
        if remove:
            self.pass_foreign(())
            self._run(rules.render_end())
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

    def publish(self, forwards: Iterable[Forward]) -> None:
        """Send what arrives at published ports to the containers. Raises OSError."""
        wanted = [forward for forward in forwards if forward.by_nat]
        if wanted and self._netlink is not None:
            nft.add_elements(self._netlink, nft.NFPROTO_IPV4, rules.TABLE, [encode(f) for f in wanted])

    def withdraw(self, forwards: Iterable[Forward]) -> None:
        """Take back ``publish``; what is not published is no error."""
        wanted = [forward for forward in forwards if forward.by_nat]
        if wanted and self._netlink is not None:
            nft.remove_elements(self._netlink, nft.NFPROTO_IPV4, rules.TABLE, [encode(f) for f in wanted])

    def _run(self, commands: str) -> None:
        if self._nftables is None:
            return
        try:
            self._nftables.run(commands)
        except nft.NftError as error:
            numbered = "\n".join(f"{n:4} {line}" for n, line in enumerate(error.commands.splitlines(), 1))
            _log.error("nftables refused", extra={"error": error.strerror, "commands": numbered})
            raise HostFailure(f"nftables refused the engine's rules: {error.strerror}") from error


def forget_flows(ports: Collection[int]) -> None:
    """Drop tracked UDP flows to the host's ``ports``: a flow keeps its old destination while packets come.

    May take 10 ms, so it is not for the way of a start.
    """
    try:
        if int(_TRACKED.read_text()) == 0:
            return
        with nft.open_netfilter() as netlink:
            conntrack.forget_ports(netlink, _PROTOCOLS["udp"], ports)
    except OSError as error:
        _log.warning("tracked UDP flows not dropped", extra={"ports": list(ports), "error": str(error)})


def encode(forward: Forward) -> nft.Element:
    """Return the map element of ``forward`` in the kernel's encoding: parts padded to four bytes."""
    where, _ = rules.element_key(forward)
    key = struct.pack(">B3xH2x", _PROTOCOLS[forward.protocol], forward.host_port)
    if where == rules.PORTS_AT:
        key = forward.host.packed + key
    return nft.Element(where, key, forward.target.packed + struct.pack(">H2x", forward.target_port))
