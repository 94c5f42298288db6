"""What the engine says about itself: version and info."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import UNSET

from sampan import __version__
from sampan.api.versions import MAX, MIN
from sampan.base.threads import blocking
from sampan.base.times import now
from sampan.kernel.host import HostFacts, ipv4_forwarding
from sampan.registry.settings import RegistrySettings
from sampan.wire.system import (
    AddressPool,
    Commit,
    FirewallBackend,
    IndexInfo,
    Info,
    Platform,
    Plugins,
    RegistryConfig,
    RuntimeInfo,
    Version,
    VersionComponent,
)

_INDEX: Final = "https://index.docker.io/v1/"
_UNLIMITED: Final = {
    "memory_limit": "WARNING: No memory limit support",
    "swap_limit": "WARNING: No swap limit support",
    "cpu_cfs": "WARNING: No cpu cfs quota support",
    "cpu_shares": "WARNING: No cpu shares support",
    "cpuset": "WARNING: No cpuset support",
    "pids_limit": "WARNING: No pids limit support",
}


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The part of the daemon's settings that it shows; empty ones are as the host has them.

    ``pools``: (base, size) of default-address-pools.
    """

    id: str
    data_root: str
    labels: Sequence[str]
    debug: bool
    log_driver: str
    runtimes: Mapping[str, str]
    default_runtime: str
    init_path: str
    no_new_privileges: bool
    cgroupns_mode: str
    seccomp_profile: str
    pools: Sequence[tuple[str, int]]
    warnings: Sequence[str]
    registries: RegistrySettings = RegistrySettings()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class DriverNames:
    """The drivers of each kind that this engine has."""

    storage: str
    storage_status: Callable[[], list[tuple[str, str]]]
    volume: Sequence[str]
    network: Sequence[str]
    log: Sequence[str]


@dataclass(frozen=True, slots=True)
class RuntimeVersion:
    """What an OCI runtime says about itself; empty where it says nothing."""

    name: str
    version: str = ""
    commit: str = ""


class System:
    """Answers ``version`` and ``info``. ``settings`` may be replaced while the daemon runs (reload)."""

    def __init__(
        self,
        facts: HostFacts,
        settings: EngineSettings,
        drivers: DriverNames,
        ask_runtime: Callable[[], RuntimeVersion],
    ) -> None:
        self.settings = settings
        self.listeners = 0  # clients that read the event stream
        self._facts = facts
        self._drivers = drivers
        self._ask_runtime = ask_runtime  # blocks
        self._runtime: RuntimeVersion | None = None

    async def _runtime_version(self) -> RuntimeVersion:
        """Return the version of the default runtime, asked for once."""
        if self._runtime is None:
            self._runtime = await blocking(self._ask_runtime)
        return self._runtime

    @property
    def hostname(self) -> str:
        """The host's name."""
        return self._facts.hostname

    @property
    def cgroup_v2(self) -> bool:
        """Whether the host has cgroup v2 alone."""
        return self._facts.cgroup_version == 2

    async def version(self) -> Version:
        """Return the versions of the engine and its parts."""
        facts, runtime = self._facts, await self._runtime_version()
        python = f"python{'.'.join(map(str, sys.version_info[:3]))}"
        details = {
            "ApiVersion": MAX,
            "Arch": facts.goarch,
            "BuildTime": "",
            "Experimental": "false",
            "GitCommit": "",
            "GoVersion": python,
            "KernelVersion": facts.kernel_version,
            "MinAPIVersion": MIN,
            "Os": "linux",
        }
        return Version(
            platform=Platform("Sampan"),
            components=[
                VersionComponent("Engine", __version__, details),
                VersionComponent(runtime.name, runtime.version, {"GitCommit": runtime.commit}),
            ],
            version=__version__,
            api_version=MAX,
            min_api_version=MIN,
            git_commit="",
            go_version=python,
            os="linux",
            arch=facts.goarch,
            kernel_version=facts.kernel_version,
            build_time="",
        )

    async def info(self, containers: tuple[int, int, int], images: int) -> Info:
        """Return the facts of the daemon and its host.

        ``containers``: how many run, are paused, are neither; ``images``: how many there are.
        """
        facts, settings, drivers = self._facts, self.settings, self._drivers
        running, paused, stopped = containers
        runtime = await self._runtime_version()
        return Info(
            id=settings.id,
            containers=running + paused + stopped,
            containers_running=running,
            containers_paused=paused,
            containers_stopped=stopped,
            images=images,
            driver=drivers.storage,
            driver_status=drivers.storage_status(),
            plugins=Plugins(list(drivers.volume), list(drivers.network), list(drivers.log)),
            memory_limit=facts.memory_limit,
            swap_limit=facts.swap_limit,
            cpu_cfs_period=facts.cpu_cfs,
            cpu_cfs_quota=facts.cpu_cfs,
            cpu_shares=facts.cpu_shares,
            cpu_set=facts.cpuset,
            pids_limit=facts.pids_limit,
            ipv4_forwarding=ipv4_forwarding(),
            debug=settings.debug,
            n_fd=sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1,
            oom_kill_disable=facts.oom_kill_disable,
            n_goroutines=len(asyncio.all_tasks()),
            system_time=now(),
            logging_driver=settings.log_driver,
            cgroup_driver="cgroupfs",
            cgroup_version=str(facts.cgroup_version),
            n_events_listener=self.listeners,
            kernel_version=facts.kernel_version,
            operating_system=facts.os_name,
            os_version=facts.os_version,
            os_type="linux",
            architecture=facts.architecture,
            index_server_address=_INDEX,
            registry_config=_registry_config(settings.registries),
            http_proxy=_masked(settings.registries.proxies.get("HTTP_PROXY", "")),
            https_proxy=_masked(settings.registries.proxies.get("HTTPS_PROXY", "")),
            no_proxy=settings.registries.proxies.get("NO_PROXY", ""),
            n_cpu=facts.ncpu,
            mem_total=facts.mem_total,
            docker_root_dir=settings.data_root,
            name=facts.hostname,
            labels=list(settings.labels),
            server_version=__version__,
            runtimes={name: RuntimeInfo(path) for name, path in settings.runtimes.items()},
            default_runtime=settings.default_runtime,
            live_restore_enabled=True,
            init_binary=settings.init_path,
            security_options=self._security_options(),
            warnings=[*self._host_warnings(), *settings.warnings],
            default_address_pools=[AddressPool(base, size) for base, size in settings.pools] or UNSET,
            firewall_backend=FirewallBackend("nftables"),
            runc_commit=Commit(runtime.commit or runtime.version),
            host_lacks=facts.missing(),
        )

    def _security_options(self) -> list[str]:
        facts, settings = self._facts, self.settings
        options = []
        if facts.apparmor:
            options.append("name=apparmor")
        if facts.seccomp:
            options.append(f"name=seccomp,profile={settings.seccomp_profile or 'builtin'}")
        if facts.selinux:
            options.append("name=selinux")
        if facts.cgroup_namespaces and (settings.cgroupns_mode or facts.cgroupns_mode) == "private":
            options.append("name=cgroupns")
        if settings.no_new_privileges:
            options.append("name=no-new-privileges")
        return options

    def _host_warnings(self) -> list[str]:
        warnings = [text for fact, text in _UNLIMITED.items() if not getattr(self._facts, fact)]
        if not ipv4_forwarding():
            warnings.append("WARNING: IPv4 forwarding is disabled")
        return warnings


def _registry_config(settings: RegistrySettings) -> RegistryConfig:
    mirrors = list(settings.mirrors)
    configs = {"docker.io": IndexInfo("docker.io", mirrors, secure=True, official=True)}
    for host in sorted(settings.insecure_hosts):
        configs[host] = IndexInfo(host, [], secure=False, official=False)
    networks = sorted(map(str, settings.insecure_networks), key=lambda text: ":" not in text)
    return RegistryConfig(networks, configs, mirrors)


def _masked(url: str) -> str:
    """Return a proxy's URL without the password in it."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('//')[0]}//xxxxx:xxxxx@{tail}" if at else url
