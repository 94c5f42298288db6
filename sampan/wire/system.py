"""Daemon-wide documents of the Docker Engine API: errors, version, info, events, disk usage."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, field


class ErrorMessage(msgspec.Struct):
    """The body of every error answer."""

    message: str


class AuthStatus(msgspec.Struct, rename="pascal"):
    """The answer of POST /auth."""

    status: str
    identity_token: str = ""


class VersionComponent(msgspec.Struct, rename="pascal"):
    name: str
    version: str
    details: dict[str, str] = {}


class Platform(msgspec.Struct, rename="pascal"):
    name: str


class Version(msgspec.Struct, rename="pascal"):
    """GET /version."""

    platform: Platform
    components: list[VersionComponent]
    version: str
    api_version: str
    min_api_version: str = field(name="MinAPIVersion")
    git_commit: str
    go_version: str
    os: str
    arch: str
    kernel_version: str
    build_time: str
    experimental: bool = False


class Plugins(msgspec.Struct, rename="pascal"):
    """Names of the drivers of each kind."""

    volume: list[str]
    network: list[str]
    log: list[str]
    authorization: list[str] | None = None


class IndexInfo(msgspec.Struct, rename="pascal"):
    name: str
    mirrors: list[str]
    secure: bool
    official: bool


class RegistryConfig(msgspec.Struct, rename="pascal"):
    insecure_registry_cidrs: list[str] = field(name="InsecureRegistryCIDRs")
    index_configs: dict[str, IndexInfo]
    mirrors: list[str]


class RuntimeInfo(msgspec.Struct, rename="lower"):
    """One OCI runtime: the path, or the name that is looked up on PATH."""

    path: str


class Commit(msgspec.Struct):
    id: str = field(default="", name="ID")


class SwarmInfo(msgspec.Struct, rename="pascal"):
    """Swarm of GET /info on a node that is in none."""

    node_id: str = field(default="", name="NodeID")
    node_addr: str = ""
    local_node_state: str = "inactive"
    control_available: bool = False
    error: str = ""
    remote_managers: list[Any] | None = None


class FirewallBackend(msgspec.Struct, rename="pascal"):
    driver: str


class AddressPool(msgspec.Struct, rename="pascal"):
    base: str
    size: int


class Info(msgspec.Struct, rename="pascal"):
    """GET /info. MemTotal is bytes."""

    id: str = field(name="ID")
    containers: int
    containers_running: int
    containers_paused: int
    containers_stopped: int
    images: int
    driver: str
    driver_status: list[tuple[str, str]]
    plugins: Plugins
    memory_limit: bool
    swap_limit: bool
    cpu_cfs_period: bool
    cpu_cfs_quota: bool
    cpu_shares: bool = field(name="CPUShares")
    cpu_set: bool = field(name="CPUSet")
    pids_limit: bool
    ipv4_forwarding: bool = field(name="IPv4Forwarding")
    debug: bool
    n_fd: int = field(name="NFd")
    oom_kill_disable: bool
    n_goroutines: int = field(name="NGoroutines")
    system_time: str
    logging_driver: str
    cgroup_driver: str
    cgroup_version: str
    n_events_listener: int
    kernel_version: str
    operating_system: str
    os_version: str = field(name="OSVersion")
    os_type: str = field(name="OSType")
    architecture: str
    index_server_address: str
    registry_config: RegistryConfig
    n_cpu: int = field(name="NCPU")
    mem_total: int
    docker_root_dir: str
    name: str
    labels: list[str]
    server_version: str
    runtimes: dict[str, RuntimeInfo]
    default_runtime: str
    live_restore_enabled: bool
    init_binary: str
    security_options: list[str]
    warnings: list[str] | None
    host_lacks: list[str] = []  # ours alone: what the host cannot do, a sentence each
    default_address_pools: list[AddressPool] | UnsetType = UNSET
    firewall_backend: FirewallBackend | UnsetType = UNSET
    bridge_nf_iptables: bool | UnsetType = UNSET
    bridge_nf_ip6tables: bool | UnsetType = field(default=UNSET, name="BridgeNfIp6tables")
    kernel_memory: bool | UnsetType = UNSET
    execution_driver: str | UnsetType = UNSET
    swarm: SwarmInfo = field(default_factory=SwarmInfo)
    containerd_commit: Commit = field(default_factory=Commit)
    runc_commit: Commit = field(default_factory=Commit)
    init_commit: Commit = field(default_factory=Commit)
    generic_resources: list[Any] | None = None
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    experimental_build: bool = False
    isolation: str = ""
    product_license: str = ""
    cdi_spec_dirs: list[str] = field(default_factory=list, name="CDISpecDirs")


class EventActor(msgspec.Struct, rename="pascal"):
    id: str = field(name="ID")
    attributes: dict[str, str] = {}


class EventMessage(msgspec.Struct, omit_defaults=True):
    """One line of GET /events. status, id and from are the old names that clients before 1.22 read."""

    type: str = field(name="Type")
    action: str = field(name="Action")
    actor: EventActor = field(name="Actor")
    scope: str
    time: int
    time_nano: int = field(name="timeNano")
    status: str = ""
    id: str = ""
    from_: str = field(default="", name="from")


class Progress(msgspec.Struct, omit_defaults=True):
    """One line of a JSON stream (load, pull, push, build)."""

    stream: str = ""
    status: str = ""
    id: str = ""
    progress: str = ""
    progress_detail: dict[str, Any] | None = field(default=None, name="progressDetail")
    error: str = ""
    error_detail: dict[str, Any] | None = field(default=None, name="errorDetail")
    aux: dict[str, Any] | None = None
