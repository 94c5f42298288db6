"""Networks as the API lists and inspects them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.base.times import parse_moment_ns
from sampan.networks.ipam.pools import describe_pools
from sampan.networks.model import Network
from sampan.networks.store import SandboxRow
from sampan.wire import networks as wire

_PRUNE_FILTERS: Final = frozenset({"label", "label!", "until"})
_FILTERS: Final = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})


def describe(network: Network, sandboxes: Iterable[SandboxRow] = ()) -> wire.Network:
    """Return the API's document of ``network`` with the containers of ``sandboxes`` that are on it."""
    pools = describe_pools(network)
    return wire.Network(
        name=network.name,
        id=network.id,
        created=network.created,
        scope="local",
        driver=network.driver,
        enable_ipv4=network.ipv4,
        enable_ipv6=network.ipv6,
        ipam=wire.Ipam(
            driver=network.ipam_driver,
            options=network.ipam_options,
            config=pools or (None if network.predefined and network.name != "bridge" else []),
        ),
        internal=network.internal,
        attachable=network.attachable,
        ingress=False,
        config_from=wire.ConfigReference(network.config_from),
        config_only=network.config_only,
        containers=dict(_attached(network, sandboxes)),
        options=dict(sorted(network.options.items())),
        labels=network.labels,
    )


def _attached(
    network: Network, sandboxes: Iterable[SandboxRow]
) -> Iterable[tuple[str, wire.NetworkContainer]]:
    for row in sandboxes:
        settings = row.sandbox.networks.get(network.name)
        if settings is not None:
            yield (
                row.sandbox.container,
                wire.NetworkContainer(
                    row.name,
                    settings.endpoint_id,
                    settings.mac_address,
                    _with_prefix(settings.ip_address, settings.ip_prefix_len),
                    _with_prefix(settings.global_ipv6_address, settings.global_ipv6_prefix_len),
                ),
            )


def _with_prefix(address: str, length: int) -> str:
    return f"{address}/{length}" if address else ""


def select(
    networks: Iterable[Network], filters: Mapping[str, Sequence[str]], in_use: Iterable[str]
) -> list[Network]:
    """Return those of ``networks`` that pass ``filters``; ``in_use`` are ids of networks with containers.

    Raises InvalidParameter in Docker's words.
    """
    for key in filters:
        if key not in _FILTERS:
            raise InvalidParameter(f"invalid filter '{key}'")
    used = set(in_use)
    dangling = _dangling(filters.get("dangling", ()))
    for kind in filters.get("type", ()):
        if kind not in {"builtin", "custom"}:
            raise InvalidParameter(f"invalid filter: 'type'='{kind}'")
    return [
        network
        for network in networks
        if _matches(network, filters)
        and (dangling is None or dangling == (not network.predefined and network.id not in used))
    ]


def select_unused(
    networks: Iterable[Network], filters: Mapping[str, Sequence[str]], in_use: Iterable[str]
) -> list[Network]:
    """Return the networks that prune removes: those of users that are not in use and pass ``filters``.

    Raises InvalidParameter in Docker's words.
    """
    for key in filters:
        if key not in _PRUNE_FILTERS:
            raise InvalidParameter(f"invalid filter '{key}'")
    until = [parse_moment_ns(text) for text in filters.get("until", ())]
    if len(until) > 1:
        raise InvalidParameter("more than one until filter specified")
    used = set(in_use)
    return [
        network
        for network in networks
        if not network.predefined
        and not network.config_only
        and network.id not in used
        and all(parse_moment_ns(network.created) <= moment for moment in until)
        and all(_labelled(network.labels, wanted) for wanted in filters.get("label", ()))
        and not any(_labelled(network.labels, unwanted) for unwanted in filters.get("label!", ()))
    ]


def _dangling(values: Sequence[str]) -> bool | None:
    if not values:
        return None
    if len(values) > 1:
        raise InvalidParameter('got more than one value for filter key "dangling"')
    if values[0] in {"1", "true"}:
        return True
    if values[0] in {"0", "false"}:
        return False
    raise InvalidParameter(
        'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'
    )


def _matches(network: Network, filters: Mapping[str, Sequence[str]]) -> bool:
    return (
        _exact(filters.get("driver"), network.driver)
        and _exact(filters.get("scope"), "local")
        and _part(filters.get("name"), network.name)
        and _part(filters.get("id"), network.id)
        and all(_labelled(network.labels, wanted) for wanted in filters.get("label", ()))
        and (not (kinds := filters.get("type")) or ("builtin" if network.predefined else "custom") in kinds)
    )


def _exact(wanted: Sequence[str] | None, value: str) -> bool:
    return not wanted or value in wanted


def _part(wanted: Sequence[str] | None, value: str) -> bool:
    """Tell whether one of ``wanted``, text or regular expression, is found in ``value``."""
    if not wanted or any(text in value for text in wanted):
        return True
    import re

    for pattern in wanted:
        try:
            if re.search(pattern, value):
                return True
        except re.error:
            continue
    return False


def _labelled(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)
