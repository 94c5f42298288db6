"""A container as ``GET /containers/{id}/json`` shows it."""

import msgspec

from sampan.containers.container import Container, Status, moment
from sampan.wire.containers import (
    ContainerState,
    EndpointSettings,
    GraphDriver,
    InspectedContainer,
    NetworkSettings,
)


def show_state(container: Container) -> ContainerState:
    """Return the State section."""
    state = container.state
    return ContainerState(
        status=state.status.value,
        running=state.running,
        paused=state.status is Status.PAUSED,
        restarting=state.status is Status.RESTARTING,
        oom_killed=state.oom_killed,
        dead=state.status is Status.DEAD,
        pid=state.pid,
        exit_code=state.exit_code,
        error=state.error,
        started_at=moment(state.started_ns),
        finished_at=moment(state.finished_ns),
        health=container.row.health,
    )


def show_network(container: Container) -> NetworkSettings:
    """Return NetworkSettings: what is, or while nothing runs, the networks that a start will join."""
    row = container.row
    if row.network.networks or row.host.network_mode.startswith("container:"):
        return row.network
    wanted = row.endpoints or ({} if row.detached else {row.host.network_mode: EndpointSettings()})
    return msgspec.structs.replace(row.network, networks=wanted)


def show(
    container: Container,
    *,
    folder: str,
    graph: dict[str, str],
    exec_ids: list[str],
    size_rw: int | None = None,
    size_root_fs: int | None = None,
) -> InspectedContainer:
    """Return the whole document; ``folder`` is the container's directory, sizes are bytes where asked for."""
    row = container.row
    started = row.state.started_ns != 0
    return InspectedContainer(
        id=row.id,
        created=moment(row.created_ns),
        path=row.path,
        args=row.args,
        state=show_state(container),
        image=row.image_id,
        resolv_conf_path=f"{folder}/resolv.conf" if started else "",
        hostname_path=f"{folder}/hostname" if started else "",
        hosts_path=f"{folder}/hosts" if started else "",
        log_path=row.log_path,
        name=f"/{row.name}",
        restart_count=row.restart_count,
        driver=row.storage_driver,
        platform=row.platform,
        mount_label="",
        process_label="",
        app_armor_profile="",
        exec_ids=exec_ids or None,
        host_config=row.host,
        graph_driver=GraphDriver(row.storage_driver, graph),
        mounts=[entry.point for entry in row.mounts],
        config=row.config,
        network_settings=show_network(container),
        size_rw=size_rw,
        size_root_fs=size_root_fs,
    )
