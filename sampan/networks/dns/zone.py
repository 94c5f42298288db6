"""The names of a network: a zone holds who is called what there, a view is what one container sees of it.

Pure. The rules are those of moby's libnetwork (sandbox.go ResolveName, network.go): a name is looked for in
the networks of the asker and nowhere else; ``name.network`` works as well; several containers may share an
alias, and are then all given, in random order.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sampan.kernel.links import IpAddress
from sampan.networks.dns import message
from sampan.networks.dns.message import Query


@dataclass(frozen=True, slots=True)
class Record:
    """A container under one of its names, with the bytes of its addresses."""

    container: str
    ipv4: bytes
    ipv6: bytes


class Zone:
    """The names and addresses on the network called ``name``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folded = name.lower()
        self._records: dict[str, tuple[Record, ...]] = {}
        self._pointers: dict[bytes, str] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self.version = 0  # grows with every change

    def add(self, container: str, names: Sequence[str], addresses: Iterable[IpAddress]) -> None:
        """Let ``container`` be known by ``names``, the first of which is its own; renews what is there."""
        self.remove(container)
        if not names:
            return
        self.version += 1
        packed = {address.version: address.packed for address in addresses}
        record = Record(container, packed.get(4, b""), packed.get(6, b""))
        folded = tuple(dict.fromkeys(name.lower() for name in names))
        for name in folded:
            self._records[name] = (*self._records.get(name, ()), record)
        for address in packed.values():
            self._pointers[address] = names[0]
        self._names[container] = folded

    def remove(self, container: str) -> None:
        """Forget ``container``; one that is not known is no error."""
        self.version += 1
        for name in self._names.pop(container, ()):
            kept = tuple(record for record in self._records[name] if record.container != container)
            gone = [record for record in self._records[name] if record.container == container]
            for record in gone:
                self._pointers.pop(record.ipv4, None)
                self._pointers.pop(record.ipv6, None)
            if kept:
                self._records[name] = kept
            else:
                del self._records[name]

    def records(self) -> Mapping[str, tuple[Record, ...]]:
        """Return every name with who is called so."""
        return self._records

    def find(self, name: str) -> tuple[Record, ...]:
        """Return who is called ``name`` (in lower case)."""
        return self._records.get(name, ())

    def name_of(self, address: bytes) -> str | None:
        """Return the name of who has ``address``, with the network's."""
        name = self._pointers.get(address)
        return f"{name}.{self.name}" if name is not None else None


@dataclass(frozen=True, slots=True)
class View:
    """A network as one container sees it: its zone, and the container's own names for others there."""

    zone: Zone
    links: Mapping[str, str]

    def find(self, name: str) -> tuple[Record, ...]:
        """Return who is called ``name`` there."""
        target = self.links.get(name) if self.links else None
        return (self.zone.find(target) if target is not None else ()) or self.zone.find(name)


def parse_links(links: Iterable[str]) -> dict[str, str]:
    """Return ``{alias: name}``, in lower case, of links ``name[:alias]``."""
    pairs = (link.lower().partition(":") for link in links)
    return {(alias or name): name for name, _, alias in pairs}


def find(name: str, views: Sequence[View]) -> tuple[Record, ...]:
    """Return who is called ``name`` in one of ``views``, the first that knows it.

    Of ``a.b.c`` the whole is tried first, then ``a.b`` on network ``c``, then ``a`` on network ``b.c``.
    """
    for view in views:
        if records := view.find(name):
            return records
    at = name.rfind(".")
    while at > 0:
        network = name[at + 1 :]
        for view in views:
            if view.zone.folded == network and (records := view.find(name[:at])):
                return records
        at = name.rfind(".", 0, at)
    return ()


def resolve(query: Query, views: Sequence[View]) -> list[bytes] | None:
    """Return the data of the records that answer ``query``, None if the name is not one of the engine's.

    A name without records of that type gives the empty list: it exists, so nobody else is to be asked.
    """
    if query.family != message.IN:
        return None
    if query.kind == message.PTR:
        return _resolve_pointer(query.name, views)
    records = find(query.name, views)
    if not records:
        return None
    if query.kind == message.A:
        found = [record.ipv4 for record in records if record.ipv4]
    elif query.kind == message.AAAA:
        found = [record.ipv6 for record in records if record.ipv6]
    else:
        return []
    if len(found) > 1:
        random.shuffle(found)
    return found


def _resolve_pointer(name: str, views: Sequence[View]) -> list[bytes] | None:
    address = message.parse_pointer(name)
    if address is None:
        return None
    for view in views:
        known = view.zone.name_of(address.packed)
        if known is not None:
            try:
                return [message.encode_name(known)]
            except ValueError:  # a network's name may be longer than a label
                return []
    return None
