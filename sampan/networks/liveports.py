"""Changing the published ports of a container that runs: which ones a request means. Pure."""

from collections.abc import Sequence

from sampan.base.errors import InvalidParameter
from sampan.networks.addresses import parse_address
from sampan.networks.model import Forward
from sampan.networks.ports import parse_host_port, parse_port
from sampan.wire.containers import PortBinding, PortMap


def added(bindings: PortMap, more: PortMap) -> PortMap:
    """Return ``bindings`` with ``more``; ports in canonical form. Raises InvalidParameter."""
    merged = {port: list(listed or ()) for port, listed in bindings.items()}
    for port, listed in more.items():
        for binding in listed or ():
            parse_host_port(binding.host_port)
        merged.setdefault(_canonical(port), []).extend(listed or ())
    return dict(merged)


def removed(bindings: PortMap, forwards: Sequence[Forward], less: PortMap) -> tuple[PortMap, list[Forward]]:
    """Return ``bindings`` without ``less``, and which of ``forwards``, the ports as published, go with them.

    A binding without a host port means every one of the container's port. Raises InvalidParameter, with the
    port as it was typed, if it is not published.
    """
    left = {_canonical(port): list(listed or ()) for port, listed in bindings.items()}
    gone: list[Forward] = []
    for port, listed in less.items():
        number, protocol = parse_port(port)
        for binding in listed or [PortBinding()]:
            found = [
                forward
                for forward in forwards
                if (forward.target_port, forward.protocol) == (number, protocol)
                and _meets(binding, forward)
                and forward not in gone
            ]
            before = left.get(_canonical(port), [])
            kept = _without(before, binding, found) if found or not forwards else before
            if not found and kept == before:
                raise InvalidParameter(f"port {_render(binding, port)} is not published")
            gone += found
            left[_canonical(port)] = kept
    return {port: listed for port, listed in left.items() if listed or port not in less}, gone


def _meets(binding: PortBinding, forward: Forward) -> bool:
    first, last = parse_host_port(binding.host_port)
    if binding.host_port and not first <= forward.host_port <= last:
        return False
    return not binding.host_ip or parse_address(binding.host_ip) == forward.host


def _without(
    listed: Sequence[PortBinding], binding: PortBinding, gone: Sequence[Forward]
) -> list[PortBinding]:
    """Return what is asked for still: of several bindings that may stand for a port that goes, one goes."""
    if not binding.host_port:
        return [each for each in listed if binding.host_ip not in {"", each.host_ip}]
    kept = list(listed)
    ports = {forward.host_port for forward in gone} or {int(binding.host_port.partition("-")[0])}
    for port in ports:
        for each in kept:
            first, last = parse_host_port(each.host_port)
            if (not each.host_port and gone) or first <= port <= last:
                kept.remove(each)
                break
    return kept


def _canonical(port: str) -> str:
    return "/".join(map(str, parse_port(port)))


def _render(binding: PortBinding, port: str) -> str:
    host = f"[{binding.host_ip}]" if ":" in binding.host_ip else binding.host_ip
    return ":".join(part for part in (host, binding.host_port, port) if part)
