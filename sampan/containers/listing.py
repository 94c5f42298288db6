"""The list of containers: filters, and each one's summary."""

import re
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, is_
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.base.units import human_duration
from sampan.containers.container import UP, Container, Status
from sampan.containers.inspect import show_network
from sampan.wire.containers import (
    ContainerSummary,
    PortSummary,
    SummaryHostConfig,
    SummaryNetworkSettings,
)

Filters = Mapping[str, Sequence[str]]

_KNOWN: Final = frozenset(
    (
        "ancestor before exited expose health id is-task isolation label name network publish since status "
        "volume"
    ).split()
)
_created: Final = attrgetter("row.created_ns")
_HEALTH: Final = frozenset({"starting", "healthy", "unhealthy", "none"})


def status_text(container: Container, now_ns: int) -> str:
    """Return the STATUS column: ``Up 5 minutes (healthy)``, ``Exited (0) 2 hours ago``."""
    state = container.state
    if state.status in UP:
        up = f"Up {human_duration((now_ns - state.started_ns) / 1e9)}"
        if state.status is Status.PAUSED:
            return f"{up} (Paused)"
        health = container.row.health
        if health is None:
            return up
        return f"{up} ({'health: starting' if health.status == 'starting' else health.status})"
    ago = human_duration((now_ns - state.finished_ns) / 1e9) if state.finished_ns else ""
    match state.status:
        case Status.RESTARTING:
            return f"Restarting ({state.exit_code}) {ago} ago"
        case Status.REMOVING:
            return "Removal In Progress"
        case Status.DEAD:
            return "Dead"
        case Status.CREATED:
            return "Created"
        case _:
            return f"Exited ({state.exit_code}) {ago} ago" if ago else ""


def command_text(container: Container) -> str:
    """Return the COMMAND column: the command line, words with a space quoted as Go's strconv.Quote does."""
    row = container.row
    if not row.args:
        return row.path
    return " ".join([row.path, *(f"'{arg}'" if " " in arg else arg for arg in row.args)])


def port_summaries(container: Container) -> list[PortSummary]:
    """Return the ports of the container, published and exposed."""
    ports: list[PortSummary] = []
    for name, bindings in container.row.network.ports.items():
        number, _, protocol = name.partition("/")
        if not bindings:
            ports.append(PortSummary(private_port=int(number), type=protocol))
        for binding in bindings or []:
            ports.append(  # noqa: PERF401 - clearer than a nested comprehension
                PortSummary(
                    ip=binding.host_ip,
                    private_port=int(number),
                    public_port=int(binding.host_port or 0),
                    type=protocol,
                )
            )
    return ports


def summarize(container: Container, now_ns: int) -> ContainerSummary:
    """Return the container's entry of the list, without sizes."""
    row = container.row
    return ContainerSummary(
        id=row.id,
        names=[f"/{row.name}"],
        image=row.config.image,
        image_id=row.image_id,
        command=command_text(container),
        created=row.created_ns // 10**9,
        ports=port_summaries(container),
        labels=row.config.labels or {},
        state=row.state.status.value,
        status=status_text(container, now_ns),
        host_config=SummaryHostConfig(row.host.network_mode, row.host.annotations),
        network_settings=SummaryNetworkSettings(show_network(container).networks),
        mounts=[entry.point for entry in row.mounts],
    )


def entry(container: Container, render: Callable[[ContainerSummary], bytes]) -> bytes:
    """Return what ``render`` makes of the container's summary, kept while all it may show stays the same.

    It must not show state and status: those change with time. The other parts of a row that change are
    replaced as a whole, so that it is enough to look whether they are the same objects.
    """
    row = container.row
    source = (row.name, row.host, row.network, row.endpoints, row.detached)
    kept = container.listed.get(render)
    if kept is None or not all(map(is_, kept[0], source)):
        kept = container.listed[render] = (source, render(summarize(container, 0)))
    return kept[1]


def check_filters(filters: Filters) -> None:
    """Raise InvalidParameter for a filter or a value that Docker does not know."""
    for key in filters:
        if key not in _KNOWN:
            raise InvalidParameter(f"invalid filter '{key}'")
    for status in filters.get("status", ()):
        if status not in {s.value for s in Status}:
            raise InvalidParameter(
                f"invalid value for state ({status}): must be one of "
                "created, running, paused, restarting, removing, exited, dead"
            )
    for health in filters.get("health", ()):
        if health not in _HEALTH:
            raise InvalidParameter(
                f"invalid value for health ({health}): must be one of none, starting, healthy, unhealthy"
            )
    for code in filters.get("exited", ()):
        if not code.lstrip("-").isdigit():
            raise InvalidParameter(f"invalid filter 'exited={code}'")
    for value in filters.get("is-task", ()):
        if value.lower() not in {"true", "false", "1", "0", "t", "f"}:
            raise InvalidParameter(f"invalid filter 'is-task=[{value}]'")


def select(
    containers: Sequence[Container],
    filters: Filters,
    *,
    everything: bool,
    limit: int,
    find: Callable[[str], Container],
    is_ancestor: Callable[[str, Container], bool],
) -> list[Container]:
    """Return the containers to list, newest first.

    ``everything`` includes those that do not run; a limit, or a filter by state, does so too. ``is_ancestor``
    tells whether an image by name is one that the container was made of.
    """
    check_filters(filters)
    ordered = sorted(containers, key=_created, reverse=True)
    if before := filters.get("before"):
        edge = find(before[-1]).row.created_ns
        ordered = [c for c in ordered if c.row.created_ns < edge]
    if since := filters.get("since"):
        edge = find(since[-1]).row.created_ns
        ordered = [c for c in ordered if c.row.created_ns > edge]
    if not (everything or limit > 0 or filters.get("status") or filters.get("exited")):
        ordered = [c for c in ordered if c.state.running]
    tests = _tests(filters, is_ancestor) if filters else []
    chosen = [c for c in ordered if all(test(c) for test in tests)] if tests else ordered
    return chosen[:limit] if limit > 0 else chosen


def _tests(
    filters: Filters, is_ancestor: Callable[[str, Container], bool]
) -> list[Callable[[Container], bool]]:
    tests: list[Callable[[Container], bool]] = []
    if ids := filters.get("id"):
        known = [_pattern("id", prefix) for prefix in ids]
        tests.append(lambda c: any(p.search(c.id) for p in known))
    if names := filters.get("name"):
        patterns = [_pattern("name", name) for name in names]
        tests.append(lambda c: any(p.search(f"/{c.name}") or p.search(c.name) for p in patterns))
    if statuses := filters.get("status"):
        tests.append(lambda c: c.state.status.value in statuses)
    if codes := filters.get("exited"):
        tests.append(lambda c: str(c.state.exit_code) in codes and c.state.status is Status.EXITED)
    if healths := filters.get("health"):
        tests.append(lambda c: (c.row.health.status if c.row.health else "none") in healths)
    if labels := filters.get("label"):
        tests.append(lambda c: all(has_label(c.row.config.labels or {}, label) for label in labels))
    if ancestors := filters.get("ancestor"):
        tests.append(lambda c: any(is_ancestor(a, c) for a in ancestors))
    if volumes := filters.get("volume"):
        tests.append(lambda c: bool(_mounted_names(c) & set(volumes)))
    if networks := filters.get("network"):
        tests.append(lambda c: bool(_network_names(c) & set(networks)))
    for key, published in (("publish", True), ("expose", False)):
        if ports := filters.get(key):
            wanted = {port for text in ports for port in _port_range(text)}
            tests.append(_port_test(wanted, published=published))
    if tasks := filters.get("is-task"):
        is_task = tasks[-1].lower() in {"true", "1", "t"}
        tests.append(lambda c: is_task == ("com.docker.swarm.task.id" in (c.row.config.labels or {})))
    return tests


def passes_labels(labels: Mapping[str, str], filters: Filters) -> bool:
    """Tell whether ``labels`` pass the filters ``label`` (all of them) and ``label!`` (none of them)."""
    return all(has_label(labels, wanted) for wanted in filters.get("label", ())) and not any(
        has_label(labels, unwanted) for unwanted in filters.get("label!", ())
    )


def _pattern(key: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidParameter(f"invalid filter '{key}={text}'") from error


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Tell whether ``labels`` has ``KEY`` or ``KEY=VALUE``."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _mounted_names(container: Container) -> set[str]:
    points = [entry.point for entry in container.row.mounts]
    return (
        {p.name for p in points if p.name}
        | {p.destination for p in points}
        | {p.source for p in points if p.type == "bind"}
    )


def _network_names(container: Container) -> set[str]:
    networks = show_network(container).networks
    return set(networks) | {endpoint.network_id for endpoint in networks.values()}


def _port_range(text: str) -> list[str]:
    ports, _, protocol = text.partition("/")
    first, _, last = ports.partition("-")
    if not first.isdigit() or (last and not last.isdigit()) or int(last or first) > 65535:
        raise InvalidParameter(f"invalid port '{text}'")
    return [f"{port}/{protocol or 'tcp'}" for port in range(int(first), int(last or first) + 1)]


def _port_test(wanted: set[str], *, published: bool) -> Callable[[Container], bool]:
    def test(container: Container) -> bool:
        if not published:
            return bool(wanted & set(container.row.config.exposed_ports or {}))
        return any(
            f"{port.public_port}/{port.type}" in wanted
            for port in port_summaries(container)
            if port.public_port
        )

    return test
