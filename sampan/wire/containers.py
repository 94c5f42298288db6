"""Containers in the Docker Engine API's JSON: what clients send to create one, and what they get back.

Field names are those of the API reference (v1.51); acronyms are spelled out. Lists and maps may be ``null``
as Go clients send them, and are given back as they came.
"""

from typing import Annotated, Any

import msgspec
from msgspec import field

Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class HealthConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Config.Healthcheck; times in nanoseconds."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(msgspec.Struct, rename="pascal"):
    """Config: the portable part, also found in images."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, Any] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool | None = None
    image: str = ""
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool | None = None
    mac_address: str | None = None
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    shell: list[str] | None = None


class WeightDevice(msgspec.Struct, rename="pascal"):
    path: str = ""
    weight: int = 0


class ThrottleDevice(msgspec.Struct, rename="pascal"):
    """A rate (bytes or operations a second) for one block device."""

    path: str = ""
    rate: Unsigned = 0


class DeviceMapping(msgspec.Struct, rename="pascal"):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(msgspec.Struct, rename="pascal"):
    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = field(default=None, name="DeviceIDs")
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class Ulimit(msgspec.Struct, rename="pascal"):
    name: str = ""
    hard: int = 0
    soft: int = 0


class LogConfig(msgspec.Struct, rename="pascal"):
    type: str = ""
    config: dict[str, str] | None = None


class PortBinding(msgspec.Struct, rename="pascal"):
    """Where a container's port is published; an empty HostPort asks for a random one."""

    host_ip: str = field(default="", name="HostIp")
    host_port: str = ""


PortMap = dict[str, list[PortBinding] | None]  # "80/tcp" -> bindings; None: exposed only


class ChangePorts(msgspec.Struct, rename="pascal"):
    """Body of POST /sampan/containers/{id}/ports/add and …/remove; the answer has all that are published."""

    ports: PortMap = {}


class RestartPolicy(msgspec.Struct, rename="pascal"):
    name: str = ""
    maximum_retry_count: int = 0


class BindOptions(msgspec.Struct, rename="pascal", omit_defaults=True):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class DriverConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(msgspec.Struct, rename="pascal", omit_defaults=True):
    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str = ""


class ImageOptions(msgspec.Struct, rename="pascal", omit_defaults=True):
    subpath: str = ""


class TmpfsOptions(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Size in bytes; Mode as the integer of the permission bits; Options as [[key, value] | [flag], …]."""

    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] | None = None


class Mount(msgspec.Struct, rename="pascal", omit_defaults=True):
    """One entry of HostConfig.Mounts (``--mount``). IDMap is ours alone, see ``containers.idmap``."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    idmap: str = field(default="", name="IDMap")


class HostConfig(msgspec.Struct, rename="pascal"):
    """HostConfig: what binds a container to this host, resources included."""

    binds: list[str] | None = None
    container_id_file: str = field(default="", name="ContainerIDFile")
    log_config: LogConfig = field(default_factory=LogConfig)
    network_mode: str = ""
    port_bindings: PortMap | None = None
    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    console_size: list[Unsigned] | None = None  # [height, width]
    annotations: dict[str, str] | None = None
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: int = 0  # bytes
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    mounts: list[Mount] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None
    # resources
    cpu_shares: int = 0
    memory: int = 0  # bytes
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = field(default=None, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: list[ThrottleDevice] | None = field(default=None, name="BlkioDeviceWriteIOps")
    cpu_period: int = 0  # µs
    cpu_quota: int = 0  # µs
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int | None = None
    kernel_memory_tcp: int | None = field(default=None, name="KernelMemoryTCP")
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = field(default=0, name="IOMaximumIOps")
    io_maximum_bandwidth: int = field(default=0, name="IOMaximumBandwidth")


class EndpointIPAMConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    ipv4_address: str = field(default="", name="IPv4Address")
    ipv6_address: str = field(default="", name="IPv6Address")
    link_local_ips: list[str] | None = field(default=None, name="LinkLocalIPs")


class EndpointSettings(msgspec.Struct, rename="pascal"):
    """A container's attachment to one network: wanted (the first group) and actual (the second)."""

    ipam_config: EndpointIPAMConfig | None = field(default=None, name="IPAMConfig")
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str = ""
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = field(default="", name="NetworkID")
    endpoint_id: str = field(default="", name="EndpointID")
    gateway: str = ""
    ip_address: str = field(default="", name="IPAddress")
    ip_prefix_len: int = field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = field(default="", name="IPv6Gateway")
    global_ipv6_address: str = field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = field(default=0, name="GlobalIPv6PrefixLen")
    dns_names: list[str] | None = field(default=None, name="DNSNames")


class NetworkingConfig(msgspec.Struct, rename="pascal"):
    endpoints_config: dict[str, EndpointSettings | None] | None = None


class CreateContainer(ContainerConfig):
    """Body of POST /containers/create: the config with HostConfig and NetworkingConfig beside it."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None
    runtime: str = ""  # some clients put it here instead of into HostConfig


class CreatedContainer(msgspec.Struct, rename="pascal"):
    id: str
    warnings: list[str] = []


class NetworkSettings(msgspec.Struct, rename="pascal"):
    """NetworkSettings of an inspected container; the address fields repeat those of network ``bridge``."""

    bridge: str = ""
    sandbox_id: str = field(default="", name="SandboxID")
    sandbox_key: str = ""
    ports: PortMap = {}
    hairpin_mode: bool = False
    link_local_ipv6_address: str = field(default="", name="LinkLocalIPv6Address")
    link_local_ipv6_prefix_len: int = field(default=0, name="LinkLocalIPv6PrefixLen")
    secondary_ip_addresses: list[Any] | None = field(default=None, name="SecondaryIPAddresses")
    secondary_ipv6_addresses: list[Any] | None = field(default=None, name="SecondaryIPv6Addresses")
    endpoint_id: str = field(default="", name="EndpointID")
    gateway: str = ""
    global_ipv6_address: str = field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = field(default=0, name="GlobalIPv6PrefixLen")
    ip_address: str = field(default="", name="IPAddress")
    ip_prefix_len: int = field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = field(default="", name="IPv6Gateway")
    mac_address: str = ""
    networks: dict[str, EndpointSettings] = {}


class HealthLog(msgspec.Struct, rename="pascal"):
    start: str = ""
    end: str = ""
    exit_code: int = 0
    output: str = ""


class Health(msgspec.Struct, rename="pascal"):
    status: str = ""
    failing_streak: int = 0
    log: list[HealthLog] | None = None


class ContainerState(msgspec.Struct, rename="pascal"):
    status: str = "created"
    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = field(default=False, name="OOMKilled")
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: str = "0001-01-01T00:00:00Z"
    finished_at: str = "0001-01-01T00:00:00Z"
    health: Health | None = None


class MountPoint(msgspec.Struct, rename="pascal"):
    """One entry of an inspected container's Mounts."""

    type: str = ""
    name: str = ""
    source: str = ""
    destination: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = field(default=True, name="RW")
    propagation: str = ""


class GraphDriver(msgspec.Struct, rename="pascal"):
    name: str = ""
    data: dict[str, str] | None = None


class InspectedContainer(msgspec.Struct, rename="pascal"):
    """GET /containers/{id}/json. SizeRw and SizeRootFs are bytes, only there when asked for."""

    id: str
    created: str
    path: str
    args: list[str]
    state: ContainerState
    image: str
    resolv_conf_path: str
    hostname_path: str
    hosts_path: str
    log_path: str
    name: str
    restart_count: int
    driver: str
    platform: str
    mount_label: str
    process_label: str
    app_armor_profile: str
    exec_ids: list[str] | None = field(name="ExecIDs")
    host_config: HostConfig
    graph_driver: GraphDriver
    mounts: list[MountPoint]
    config: ContainerConfig
    network_settings: NetworkSettings
    size_rw: int | None = None
    size_root_fs: int | None = None


class PortSummary(msgspec.Struct, rename="pascal", omit_defaults=True):
    """One port of a listed container. PublicPort 0: exposed, not published."""

    ip: str = field(default="", name="IP")
    private_port: int = 0
    public_port: int = 0
    type: str = ""


class SummaryHostConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    network_mode: str = ""
    annotations: dict[str, str] | None = None


class SummaryNetworkSettings(msgspec.Struct, rename="pascal"):
    networks: dict[str, EndpointSettings] = {}


class ContainerSummary(msgspec.Struct, rename="pascal"):
    """One entry of GET /containers/json; Created is seconds since 1970."""

    id: str
    names: list[str]
    image: str
    image_id: str = field(name="ImageID")
    command: str
    created: int
    ports: list[PortSummary]
    labels: dict[str, str]
    state: str
    status: str
    host_config: SummaryHostConfig
    network_settings: SummaryNetworkSettings
    mounts: list[MountPoint]
    size_rw: int | msgspec.UnsetType = msgspec.UNSET
    size_root_fs: int | msgspec.UnsetType = msgspec.UNSET


class ExecConfig(msgspec.Struct, rename="pascal"):
    """Body of POST /containers/{id}/exec."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[Unsigned] | None = None  # [height, width]
    attach_stdin: bool = False
    attach_stderr: bool = False
    attach_stdout: bool = False
    detach: bool = False
    detach_keys: str = ""
    env: list[str] | None = None
    working_dir: str = ""
    cmd: list[str] | None = None


class StartExec(msgspec.Struct, rename="pascal"):
    """Body of POST /exec/{id}/start."""

    detach: bool = False
    tty: bool = False
    console_size: list[Unsigned] | None = None


class ExecProcess(msgspec.Struct, rename=lambda name: name, omit_defaults=True):
    """ProcessConfig of an inspected exec: keys are in lower case there."""

    tty: bool = field(default=False)
    entrypoint: str = ""
    arguments: list[str] | None = None
    privileged: bool | None = None
    user: str = ""


class InspectedExec(msgspec.Struct, rename="pascal"):
    """GET /exec/{id}/json; ExitCode is null while it runs."""

    id: str = field(name="ID")
    running: bool
    exit_code: int | None
    process_config: ExecProcess
    open_stdin: bool
    open_stderr: bool
    open_stdout: bool
    can_remove: bool
    container_id: str = field(name="ContainerID")
    detach_keys: str
    pid: int


class WaitError(msgspec.Struct, rename="pascal"):
    message: str = ""


class WaitResult(msgspec.Struct, rename="pascal", omit_defaults=False):
    status_code: int
    error: WaitError | None = None


class TopResult(msgspec.Struct, rename="pascal"):
    titles: list[str]
    processes: list[list[str]]


class UpdateContainer(HostConfig):
    """Body of POST /containers/{id}/update: resources and RestartPolicy; zero means "leave as it is"."""
