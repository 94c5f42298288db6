"""Legacy links of the default bridge: ``--link NAME:ALIAS`` gives a hosts entry and variables."""

from collections.abc import Callable, Sequence
from typing import Final

from sampan.base.errors import Conflict, InvalidParameter
from sampan.containers.container import Container

_NOT_PASSED_ON: Final = frozenset({"HOME", "PATH"})


def split_link(text: str) -> tuple[str, str]:
    """Return the name and the alias of ``NAME[:ALIAS]``; the alias of ``NAME`` is that name itself."""
    if not text:
        raise InvalidParameter("empty string specified for links")
    name, _, alias = text.partition(":")
    if not name or ":" in alias:
        raise InvalidParameter(f"bad format for links: {text}")
    name = name.removeprefix("/")
    return name, alias.rpartition("/")[2] or name


def resolve(links: Sequence[str], find: Callable[[str], Container]) -> list[str]:
    """Return ``name:alias:address`` of each link. Raises Conflict unless the other container runs."""
    resolved: list[str] = []
    for link in links:
        name, alias = split_link(link)
        other = find(name)
        if not other.row.network.ip_address:
            raise Conflict(f"Cannot link to a non running container: /{other.name} AS /{alias}")
        resolved.append(f"{other.name}:{alias}:{other.row.network.ip_address}")
    return resolved


def reaches(links: Sequence[str], find: Callable[[str], Container]) -> list[tuple[str, str]]:
    """Return the ports that ``links`` lead to: (address, ``80/tcp``) of all that others expose or publish."""
    found: list[tuple[str, str]] = []
    for link in links:
        row = find(split_link(link)[0]).row
        ports = {*(row.config.exposed_ports or {}), *(row.host.port_bindings or {})}
        found += [(row.network.ip_address, port) for port in sorted(ports)]
    return found


def variables(container: Container, find: Callable[[str], Container]) -> list[str]:
    """Return the variables that its links give ``container``: ``ALIAS_NAME``, ``ALIAS_PORT_80_TCP``, …"""
    made: list[str] = []
    for link in container.row.host.links or ():
        name, alias = split_link(link)
        other = find(name)
        address = other.row.network.ip_address
        prefix = alias.replace("-", "_").upper()
        ports = sorted(other.row.config.exposed_ports or {}, key=lambda port: (_number(port), port))
        for at, port in enumerate(ports):
            number, _, protocol = port.partition("/")
            url = f"{protocol}://{address}:{number}"
            if at == 0:
                made.append(f"{prefix}_PORT={url}")
            key = f"{prefix}_PORT_{number}_{protocol.upper()}"
            made += [
                f"{key}={url}",
                f"{key}_ADDR={address}",
                f"{key}_PORT={number}",
                f"{key}_PROTO={protocol}",
            ]
        made.append(f"{prefix}_NAME=/{container.name}/{alias}")
        for entry in other.row.config.env or ():
            key = entry.partition("=")[0]
            if key not in _NOT_PASSED_ON:
                made.append(f"{prefix}_ENV_{entry}")
    return made


def _number(port: str) -> int:
    digits = port.partition("/")[0]
    return int(digits) if digits.isdigit() else 0
