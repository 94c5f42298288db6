"""Explains a container, a network or a published port: all that is between it and others, and why.

What shall be there stands beside what the kernel has; nothing is changed by looking.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_interface
from typing import Final

from sampan.base.errors import HostFailure, InvalidParameter, NotFound
from sampan.base.ids import short_id
from sampan.insight.reach import reach_of
from sampan.kernel.links import Link
from sampan.networks.drift import Seen, Wanted, compare
from sampan.networks.endpoint import Held
from sampan.networks.firewall.rules import TABLE, comment_of
from sampan.networks.model import Forward, Inside, Network, NetworkPlan, Rule
from sampan.networks.sandbox import SeenNamespace
from sampan.networks.views import NetworkViews
from sampan.wire.explain import (
    Explained,
    ExplainedAddress,
    ExplainedInterface,
    ExplainedName,
    ExplainedNamespace,
    ExplainedRule,
    ExplainedSetting,
    Traced,
)

KINDS: Final = ("container", "network", "port")
_ENGINE: Final = "engine"
_PORT: Final = re.compile(
    r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<port>\d{1,5})(?:/(?P<protocol>\w+))?"
)
_COMMENT: Final = re.compile(r'\s*(?P<text>.*?) comment "(?P<comment>[^"]*)"\s*$')
_OK: Final = "ok"


class NetworkInsight:
    """Explains over the ``views`` of the network service; ``find`` gives (id, name) of a container."""

    def __init__(self, views: NetworkViews, find: Callable[[str], tuple[str, str]]) -> None:
        self._views = views
        self._find = find

    async def trace(self, container: str, name: str, kind: str) -> Traced:
        """Ask for ``name`` as ``container`` would. Raises NotFound, InvalidParameter."""
        found, _ = self._find(container)
        return await self._views.trace(found, name, kind.upper() or "A")

    async def explain(self, subject: str, kind: str = "") -> Explained:
        """Explain the container, network or published port (``8080``, ``127.0.0.1:53/udp``) ``subject``.

        Without ``kind`` it is the first of these that is there. Raises NotFound, InvalidParameter.
        """
        if kind and kind not in KINDS:
            raise InvalidParameter(f"invalid kind {kind!r}: it is one of {', '.join(KINDS)}")
        await self._views.settle()
        wanted = self._views.wanted()
        try:
            return await _Explanation(self._views, wanted, await self._look(wanted)).of(
                *self._subject(subject, kind)
            )
        except OSError as error:
            raise HostFailure(f"cannot look at the host: {error}") from error

    async def _look(self, wanted: Wanted) -> tuple[Seen, str, SeenNamespace]:
        seen = await self._views.seen(wanted)
        families = sorted({rule.family for rule in wanted.rules})
        return seen, await self._views.firewall(families), await self._views.inside(None)

    def _subject(
        self, subject: str, kind: str
    ) -> tuple[str, Held | None, Sequence[Network], Sequence[Forward]]:
        """Return the kind, the container, the networks and the ports that are meant."""
        failure: NotFound | None = None
        if kind in {"", "container"}:
            try:
                held = self._views.sandbox(self._find(subject)[0])
                networks = [attached.network for attached in held.attachments.values()]
                return "container", held, networks, held.wiring.forwards
            except NotFound as error:
                failure = error
        if kind in {"", "network"}:
            try:
                return "network", None, [self._views.find(subject)], ()
            except NotFound as error:
                failure = failure if failure is not None and "sandbox" in str(failure) else error
        if kind in {"", "port"} and (match := _PORT.fullmatch(subject)) is not None:
            holder, forwards = self._port(match)
            if holder is not None:
                gateway = holder.gateway()
                return "port", holder, [gateway.network] if gateway is not None else [], forwards
            failure = NotFound(f"port {subject} is not published")
        if failure is None:
            raise InvalidParameter(f"invalid port: {subject}")
        if not kind and "sandbox" not in str(failure):
            failure = NotFound(f"no such container, network or published port: {subject}")
        raise failure

    def _port(self, match: re.Match[str]) -> tuple[Held | None, list[Forward]]:
        protocol = (match["protocol"] or "tcp").lower()
        try:
            host = ip_address(match["host"].strip("[]")) if match["host"] else None
        except ValueError as error:
            raise InvalidParameter(f"invalid address: {match['host']}") from error
        for held in self._views.sandboxes():
            found = [
                forward
                for forward in held.wiring.forwards
                if forward.host_port == int(match["port"])
                and forward.protocol == protocol
                and host in {None, forward.host}
            ]
            if found:
                return held, found
        return None, []


class _Explanation:
    """One explanation, made of one look at the kernel."""

    def __init__(self, views: NetworkViews, wanted: Wanted, looked: tuple[Seen, str, SeenNamespace]) -> None:
        self._views = views
        self._wanted = wanted
        self._seen, listing, self._host = looked
        self._drifts = compare(wanted, self._seen)
        self._states = {id(drift.effect): drift.state for drift in self._drifts if drift.effect is not None}
        self._kernel = _parse_listing(listing)

    async def of(
        self, kind: str, held: Held | None, networks: Sequence[Network], forwards: Sequence[Forward]
    ) -> Explained:
        plans = {n.name: self._wanted.networks.get(n.name, NetworkPlan()) for n in networks}
        on = [each for each in self._views.sandboxes() if any(n.id in each.attachments for n in networks)]
        boxes = [held] if held is not None else on
        owners = {_ENGINE, *(f"network {name}" for name in plans)}
        owners |= {f"container {name}" for b in boxes for name in (b.name, short_id(b.container))}
        rules = [rule for rule in self._wanted.rules if rule.owner in owners]
        if kind == "port":
            rules = [rule for rule in rules if not _of_another_port(rule, forwards)]
        names = {n for plan in plans.values() for n in plan.links}
        names |= {port for box in boxes for port in box.wiring.ports}
        spaces = [self._host_space(names, plans)]
        differences = [drift for drift in self._drifts if drift.owner in owners or drift.effect is None]
        inner: list[str] = []
        for box in boxes:
            if box.wiring.path is not None:
                try:
                    spaces.append(await self._space(box, inner))
                except FileNotFoundError:
                    inner.append(f"namespace of container {box.name} missing")
        return Explained(
            kind=kind,
            name=_name(kind, held, networks, forwards),
            id=held.container if held is not None else networks[0].id,
            namespaces=spaces,
            rules=[self._rule(rule) for rule in rules] + self._strange(),
            settings=self._settings(plans.values()),
            names=[name for network in networks for name in self._names(network)],
            reach=[
                entry
                for network in networks
                for entry in reach_of(network, plans[network.name], held, forwards, on)
            ],
            differences=[*map(str, differences), *inner],
        )

    def _host_space(self, names: Iterable[str], plans: dict[str, NetworkPlan]) -> ExplainedNamespace:
        by_name = {link.name: link for link in self._host.links}
        wanted = {b.name: b for plan in plans.values() for b in plan.bridges}
        found = []
        for name in sorted(names, key=lambda name: (name not in wanted, name)):
            bridge = wanted.get(name)
            link = by_name.get(name)
            addresses = [] if bridge is None else [str(address) for address in bridge.addresses]
            owner, reason = self._owner(name) if bridge is None else (bridge.owner, bridge.reason)
            found.append(self._interface(name, link, self._host, addresses, owner, reason))
        indexes = {link.index for link in self._host.links if link.name in wanted}
        routes = [r for r in _routes(self._host, ()) if _index_of(r.text, self._host) in indexes]
        return ExplainedNamespace("host", self._host.inode, "", found, routes)

    def _owner(self, name: str) -> tuple[str, str]:
        for box in self._wanted.sandboxes:
            for link in box.links:
                if getattr(link, "host", "") == name:
                    return link.inside.owner, link.inside.reason
        return "", ""

    async def _space(self, held: Held, differences: list[str]) -> ExplainedNamespace:
        """Explain a container's namespace; what is missing in it is added to ``differences``."""
        inside = await self._views.inside(held)
        by_name = {link.name: link for link in inside.links}
        owner = f"container {held.name}"
        links = [link.inside for box in self._wanted.sandboxes if box.owner == owner for link in box.links]
        wanted = {link.ifname: link for link in links}
        found = []
        for name in dict.fromkeys([*by_name, *wanted]):
            link = wanted.get(name)
            addresses = [str(address) for address in link.addresses] if link is not None else []
            shown = self._interface(
                name, by_name.get(name), inside, addresses, owner, link.reason if link is not None else ""
            )
            found.append(shown)
            if shown.state == "missing":
                differences.append(f"interface {name} of container {held.name} missing")
            differences += [
                f"address {address.text} of {name} in container {held.name} missing"
                for address in shown.addresses
                if address.state == "missing" and shown.state != "missing"
            ]
        routes = _routes(inside, links)
        differences += [
            f"route {r.text} in container {held.name} missing" for r in routes if r.state == "missing"
        ]
        return ExplainedNamespace(owner, inside.inode, inside.path, found, routes)

    def _interface(
        self,
        name: str,
        link: Link | None,
        space: SeenNamespace,
        wanted: Sequence[str],
        owner: str,
        reason: str,
    ) -> ExplainedInterface:
        if link is None:
            missing = [ExplainedAddress(text, "missing") for text in wanted]
            return ExplainedInterface(name, "", 0, "missing", owner=owner, reason=reason, addresses=missing)
        there = [str(address) for index, address in space.addresses if index == link.index]
        addresses = [ExplainedAddress(text, _OK if text in there else "missing") for text in wanted]
        addresses += [ExplainedAddress(text, _unasked(text)) for text in there if text not in wanted]
        drift = next((d for d in self._drifts if name in d.what.split() and space is self._host), None)
        return ExplainedInterface(
            name,
            link.kind or ("loopback" if link.name == "lo" else "device"),
            link.index,
            drift.state if drift is not None and "address" not in drift.what else _OK,
            up=link.up,
            mac=link.mac,
            mtu=link.mtu,
            peer=self._peer(link, space),
            of=next((each.name for each in space.links if each.index == link.master), ""),
            owner=owner,
            reason=reason,
            addresses=addresses,
        )

    def _peer(self, link: Link, space: SeenNamespace) -> str:
        if link.kind != "veth" or not link.peer:
            return ""
        if space is self._host:
            for box in self._wanted.sandboxes:
                for wanted in box.links:
                    if getattr(wanted, "host", "") == link.name:
                        return f"{wanted.inside.ifname} of {box.owner}"
            return f"interface {link.peer} of another namespace"
        other = next((each for each in self._host.links if each.index == link.peer), None)
        return f"{other.name} of the host" if other is not None else f"interface {link.peer}"

    def _rule(self, rule: Rule) -> ExplainedRule:
        kernel = self._kernel.get((rule.family, rule.chain, comment_of(rule)), "") if rule.chain else ""
        return ExplainedRule(
            f"{rule.family} {TABLE}",
            rule.chain,
            rule.statement,
            rule.owner,
            rule.reason,
            self._states.get(id(rule), _OK),
            kernel,
        )

    def _strange(self) -> list[ExplainedRule]:
        """Return the rules that somebody else put into the engine's tables."""
        strange = [drift for drift in self._drifts if drift.effect is None]
        return [ExplainedRule(TABLE, "", d.what, d.owner, d.reason, "extra") for d in strange]

    def _settings(self, plans: Iterable[NetworkPlan]) -> list[ExplainedSetting]:
        sysctls = [*self._wanted.settings, *(sysctl for plan in plans for sysctl in plan.sysctls)]
        found = []
        for sysctl in sysctls:
            actual = self._seen.settings.get(sysctl.key)
            state = _OK if actual == sysctl.value else "missing" if actual is None else "differs"
            found.append(
                ExplainedSetting(sysctl.key, sysctl.value, actual or "", sysctl.owner, sysctl.reason, state)
            )
        return found

    def _names(self, network: Network) -> list[ExplainedName]:
        known = {held.container: held.name for held in self._views.sandboxes()}
        return [
            ExplainedName(
                network.name,
                name,
                [str(ip_address(raw)) for raw in (record.ipv4, record.ipv6) if raw],
                known.get(record.container, record.container),
            )
            for name, records in self._views.records(network.id).items()
            for record in records
        ]


def _name(kind: str, held: Held | None, networks: Sequence[Network], forwards: Sequence[Forward]) -> str:
    if kind == "port" and forwards:
        return f"{forwards[0].host_port}/{forwards[0].protocol}"
    return held.name if held is not None else networks[0].name


def _unasked(address: str) -> str:
    """Return the state of an address that nobody wants: some are the kernel's own."""
    found = ip_interface(address)
    return _OK if found.is_link_local or found.is_loopback else "extra"


def _of_another_port(rule: Rule, forwards: Sequence[Forward]) -> bool:
    return rule.reason.startswith("published port ") and not any(
        rule.reason == f"published port {forward}" for forward in forwards
    )


def _routes(space: SeenNamespace, wanted: Sequence[Inside]) -> list[ExplainedAddress]:
    """Return the routes of a namespace; default routes that are wanted and not there, too."""
    names = {link.index: link.name for link in space.links}
    asked = [f"default via {hop} dev {link.ifname}" for link in wanted for hop in link.gateways]
    found = []
    for route in space.routes:
        where = str(route.network) if route.network.prefixlen else "default"
        via = f" via {route.gateway}" if route.gateway is not None else ""
        found.append(f"{where}{via} dev {names.get(route.index, route.index)}")
    missing = [ExplainedAddress(text, "missing") for text in asked if text not in found]
    return [ExplainedAddress(text, _OK) for text in found] + missing


def _index_of(route: str, space: SeenNamespace) -> int:
    name = route.rpartition(" dev ")[2]
    return next((link.index for link in space.links if link.name == name), 0)


def _parse_listing(text: str) -> dict[tuple[str, str, str], str]:
    """Return what nftables lists, by (family, chain, comment) of each rule."""
    found: dict[tuple[str, str, str], str] = {}
    family = chain = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            family = words[1]
        elif words[:1] == ["chain"]:
            chain = words[1]
        elif (match := _COMMENT.match(line)) is not None:
            found[family, chain, match["comment"]] = match["text"]
    return found
