"""``config.json``: from a container as Docker's API describes it to what an OCI runtime is told.

``SpecBuilder`` is the only entrance. It decides; nothing is changed on the host. Each subject has its module:
users, capabilities, devices, resources, mounts, sysctls, ulimits, security, seccomp_profile, namespaces.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.kernel.host import HostFacts
from sampan.oci.spec import (
    VERSION,
    Box,
    Linux,
    LinuxCapabilities,
    LinuxDevice,
    LinuxDeviceCgroup,
    LinuxNamespace,
    LinuxSeccomp,
    OciMount,
    Process,
    Root,
    Spec,
    User,
)
from sampan.runtime.apparmor import choose_profile
from sampan.runtime.capabilities import available, granted
from sampan.runtime.checks import check_host_config
from sampan.runtime.devices import ALLOW_ALL, ANY, DEFAULT_RULES, find_devices, host_devices, parse_rule
from sampan.runtime.environment import container_env, merge_env, with_home
from sampan.runtime.init import IN_CONTAINER, find_init, init_mount
from sampan.runtime.mounts import (
    DEFAULT_SHM_SIZE,
    READONLY_PATHS,
    masked_paths,
    plan_mounts,
    root_propagation,
)
from sampan.runtime.namespaces import is_host, is_private
from sampan.runtime.resources import linux_resources
from sampan.runtime.seccomp_profile import DEFAULT, UNCONFINED, SeccompPrograms
from sampan.runtime.security import SecurityOptions, parse_security_options
from sampan.runtime.sysctls import plan_sysctls
from sampan.runtime.ulimits import rlimits
from sampan.runtime.users import Accounts, Identity, all_groups, find_groups, find_identity, read_accounts
from sampan.wire.containers import ContainerConfig, ExecConfig, HostConfig, Ulimit

__all__ = ["ExecRequest", "SpecBuilder", "SpecFailed", "SpecRequest", "check_host_config"]

_log = logging.getLogger(__name__)
_CRUN: Final = "crun"
_SECCOMP_BPF: Final = "run.oci.seccomp_bpf_data"  # crun(1), annotations
_encode: Final = msgspec.json.Encoder().encode


class SpecFailed(HostFailure):
    """A container cannot be started as it was created: its user, a device or a profile is not to be had."""


@dataclass(frozen=True, slots=True)
class SpecRequest:
    """A container about to start.

    ``config`` has the image's part merged in; ``env`` is its environment without Docker's own variables;
    ``netns`` is a path (None: the host's network), ``ipcns`` and ``pidns`` are paths of another container's
    namespaces; ``mounts`` are its own, parents first; ``cgroupns`` is ``host`` or ``private``; ``runtime`` is
    the name of the OCI runtime.
    """

    id: str
    name: str
    config: ContainerConfig
    host: HostConfig
    args: Sequence[str]
    env: Sequence[str]
    rootfs: Path
    hostname: str
    domainname: str
    netns: str | None
    ipcns: str | None
    pidns: str | None
    mounts: Sequence[OciMount]
    cgroup_path: str
    init_path: Path | None
    cgroupns: str
    runtime: str = _CRUN


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A process to add to a running container; ``config`` and ``host`` are the container's."""

    exec: ExecConfig
    config: ContainerConfig
    host: HostConfig
    rootfs: Path


class SpecBuilder:
    """Builds specs. Safe to use from threads; calls block for the few files that they read.

    ``default_seccomp`` is the daemon's profile: ``builtin``, ``unconfined`` or JSON text. ``default_ulimits``
    hold for containers that do not set limits of these names.
    """

    def __init__(
        self,
        facts: HostFacts,
        *,
        default_seccomp: str = DEFAULT,
        default_ulimits: Sequence[Ulimit] = (),
        default_shm_size: int = DEFAULT_SHM_SIZE,
        no_new_privileges: bool = False,
    ) -> None:
        self._facts = facts
        self._default_seccomp = default_seccomp
        self._default_ulimits = tuple(default_ulimits)
        self._default_shm_size = default_shm_size
        self._no_new_privileges = no_new_privileges
        self._programs = SeccompPrograms(facts)
        self._told_oom_score = False

    def warm(self) -> None:
        """Compile the filter of plain containers now, so that the first start need not wait for it."""
        host = HostConfig()
        self._seccomp(host, SecurityOptions(), granted(host, self._facts), _CRUN)

    def build(self, request: SpecRequest) -> bytes:
        """Return the text of ``config.json`` for ``request``. About 0.2 ms.

        Raises SpecFailed in Docker's words ("unable to find user x: no matching entries in passwd file").
        """
        try:
            return _encode(self._build(request))
        except InvalidParameter as error:
            raise SpecFailed(str(error)) from error

    def _build(self, request: SpecRequest) -> Spec:
        config, host = request.config, request.host
        security = self._security(host)
        capabilities = granted(host, self._facts)
        seccomp, program = self._seccomp(host, security, capabilities, request.runtime)
        annotations = dict(host.annotations or {})
        if program is not None:
            annotations[_SECCOMP_BPF] = program
        mounts = plan_mounts(
            host,
            request.mounts,
            shm_size=host.shm_size or self._default_shm_size,
            writable_cgroups=security.writable_cgroups,
        )
        args = request.args
        if host.init and is_private("pid", host.pid_mode):
            args = [IN_CONTAINER, "--", *args]
            mounts.append(init_mount(request.init_path or find_init()))
        accounts = read_accounts(request.rootfs)
        identity = find_identity(config.user, accounts)
        env = container_env(request.env, hostname=request.hostname, tty=config.tty)
        process = self._process(
            host,
            security,
            capabilities,
            args=args,
            env=with_home(env, identity.home),
            cwd=config.working_dir or "/",
            user=_user(identity, host, accounts),
            tty=config.tty,
            console_size=host.console_size,
        )
        devices, rules = _devices(host)
        linux = Linux(
            namespaces=_namespaces(request),
            devices=devices,
            cgroups_path=request.cgroup_path,
            resources=linux_resources(host, rules),
            rootfs_propagation=root_propagation(request.mounts),
            seccomp=seccomp,
            masked_paths=_paths(host, host.masked_paths, masked_paths()),
            readonly_paths=_paths(host, host.readonly_paths, READONLY_PATHS),
            sysctl=plan_sysctls(host, request.domainname, own_network=request.netns is not None),
        )
        return Spec(
            oci_version=VERSION,
            process=process,
            root=Root(str(request.rootfs), readonly=host.readonly_rootfs),
            linux=linux,
            hostname="" if is_host(host.uts_mode) else request.hostname,
            mounts=mounts,
            annotations=annotations,
        )

    def exec_process(self, request: ExecRequest) -> bytes:
        """Return the OCI process of ``docker exec``: the container's, with what the exec says over it.

        The environment is the container's (TERM if the exec has a terminal) and the exec's over it; user and
        working directory are the container's unless given; ``privileged`` grants all capabilities, and
        nothing else. Raises InvalidParameter when the user cannot be found.
        """
        config, host, wanted = request.config, request.host, request.exec
        accounts = read_accounts(request.rootfs)
        identity = find_identity(wanted.user or config.user, accounts)
        env = container_env(config.env or (), hostname=config.hostname, tty=wanted.tty)
        capabilities = available(self._facts) if wanted.privileged else granted(host, self._facts)
        process = self._process(
            host,
            self._security(host),
            capabilities,
            args=wanted.cmd or (),
            env=with_home(merge_env(env, wanted.env or ()), identity.home),
            cwd=wanted.working_dir or config.working_dir or "/",
            user=_user(identity, host, accounts),
            tty=wanted.tty,
            console_size=wanted.console_size,
        )
        return _encode(process)

    def check_user(self, user: str, rootfs: Path) -> None:
        """Raise InvalidParameter unless ``user`` can be found in the files below ``rootfs``."""
        find_identity(user, read_accounts(rootfs))

    def _process(
        self,
        host: HostConfig,
        security: SecurityOptions,
        capabilities: Sequence[str],
        *,
        args: Sequence[str],
        env: Sequence[str],
        cwd: str,
        user: User,
        tty: bool,
        console_size: Sequence[int] | None,
    ) -> Process:
        return Process(
            args=args,
            cwd=cwd,
            user=user,
            env=env,
            terminal=tty,
            console_size=_box(console_size) if tty else None,
            capabilities=LinuxCapabilities(capabilities, capabilities, capabilities),
            rlimits=rlimits(host.ulimits, self._default_ulimits, self._facts),
            no_new_privileges=security.no_new_privileges,
            oom_score_adj=self._oom_score(host.oom_score_adj),
            apparmor_profile=choose_profile(security.apparmor, self._facts, privileged=host.privileged),
        )

    def _security(self, host: HostConfig) -> SecurityOptions:
        return parse_security_options(host.security_opt or (), no_new_privileges=self._no_new_privileges)

    def _seccomp(
        self, host: HostConfig, security: SecurityOptions, capabilities: Sequence[str], runtime: str
    ) -> tuple[LinuxSeccomp | None, str | None]:
        """Return the filter as a section of the spec, or as the program for crun's annotation."""
        profile = security.seccomp or ("" if host.privileged else self._default_seccomp)
        if profile in ("", UNCONFINED) or not self._facts.seccomp:
            return None, None
        if runtime == _CRUN:
            try:
                program = self._programs.program(profile, capabilities)
            except OSError as error:
                _log.warning(
                    "cannot compile seccomp filters here, the runtime does", extra={"error": str(error)}
                )
            else:
                if program is not None:
                    return None, program
        return self._programs.section(profile, capabilities), None

    def _oom_score(self, wanted: int) -> int:
        # Without CAP_SYS_RESOURCE the kernel refuses a better score than the daemon's own (proc(5))
        if self._facts.may_raise_limits or wanted >= self._facts.oom_score_adj:
            return wanted
        if not self._told_oom_score:
            self._told_oom_score = True
            _log.warning("OOM score raised to the daemon's own", extra={"score": self._facts.oom_score_adj})
        return self._facts.oom_score_adj


def _user(identity: Identity, host: HostConfig, accounts: Accounts) -> User:
    extra = find_groups(host.group_add, accounts) if host.group_add else ()
    return User(identity.uid, identity.gid, all_groups(identity, extra))


def _namespaces(request: SpecRequest) -> list[LinuxNamespace]:
    # No time namespace, which newer engines add: crun 1.8 fails on it, and it shows nothing but its number
    host = request.host
    planned = [LinuxNamespace("mount")]
    if request.netns is not None:
        planned.append(LinuxNamespace("network", request.netns))
    if not is_host(host.uts_mode):
        planned.append(LinuxNamespace("uts"))
    if not is_host(host.pid_mode):
        planned.append(LinuxNamespace("pid", request.pidns or ""))
    if not is_host(host.ipc_mode):
        planned.append(LinuxNamespace("ipc", request.ipcns or ""))
    if request.cgroupns == "private":
        planned.append(LinuxNamespace("cgroup"))
    return planned


def _devices(host: HostConfig) -> tuple[list[LinuxDevice], Sequence[LinuxDeviceCgroup]]:
    if not host.privileged and not host.devices and not host.device_cgroup_rules:
        return [], DEFAULT_RULES
    devices = host_devices() if host.privileged else []
    rules = list(DEFAULT_RULES)
    for mapping in host.devices or ():
        if host.privileged and mapping.path_on_host == mapping.path_in_container:
            continue  # it is among the host's
        found, allowed = find_devices(
            mapping.path_on_host, mapping.path_in_container, mapping.cgroup_permissions
        )
        devices += found
        rules += allowed
    for rule in map(parse_rule, host.device_cgroup_rules or ()):
        # An absent number means any one, too: crun writes a -1 as it is, which the kernel does not take.
        major, minor = (None if number == ANY else number for number in (rule.major, rule.minor))
        rules.append(msgspec.structs.replace(rule, major=major, minor=minor))
    return devices, ALLOW_ALL if host.privileged else rules


def _paths(host: HostConfig, own: Sequence[str] | None, default: Sequence[str]) -> Sequence[str]:
    if own is not None:
        return own
    return () if host.privileged else default


def _box(size: Sequence[int] | None) -> Box | None:
    if size is None or len(size) != 2 or not all(0 < number < 1 << 16 for number in size):
        return None
    return Box(height=size[0], width=size[1])
