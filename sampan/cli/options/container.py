"""The body of ``POST /containers/create`` from the flags of ``run`` and ``create``.

Fields that no flag is about are left out unless Docker's client always sends them. The order in which options
are checked is Docker's, so that of several mistakes the same one is told.
"""

from sampan.cli.parser import UsageError
from sampan.cli.table import PROGRAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.cli.parser import Flags

# Flags whose value is a field of HostConfig as it stands; left out where it is empty.
_PLAIN = (
    ("cidfile", "ContainerIDFile"),
    ("oom-score-adj", "OomScoreAdj"),
    ("rm", "AutoRemove"),
    ("privileged", "Privileged"),
    ("link", "Links"),
    ("publish-all", "PublishAllPorts"),
    ("add-host", "ExtraHosts"),
    ("volumes-from", "VolumesFrom"),
    ("ipc", "IpcMode"),
    ("pid", "PidMode"),
    ("uts", "UTSMode"),
    ("userns", "UsernsMode"),
    ("cgroupns", "CgroupnsMode"),
    ("group-add", "GroupAdd"),
    ("read-only", "ReadonlyRootfs"),
    ("volume-driver", "VolumeDriver"),
    ("isolation", "Isolation"),
    ("shm-size", "ShmSize"),
    ("sysctl", "Sysctls"),
    ("runtime", "Runtime"),
    ("mount", "Mounts"),
    ("annotation", "Annotations"),
    ("cgroup-parent", "CgroupParent"),
    ("memory", "Memory"),
    ("memory-reservation", "MemoryReservation"),
    ("memory-swap", "MemorySwap"),
    ("memory-swappiness", "MemorySwappiness"),
    ("oom-kill-disable", "OomKillDisable"),
    ("cpus", "NanoCpus"),
    ("cpu-shares", "CpuShares"),
    ("cpu-period", "CpuPeriod"),
    ("cpu-quota", "CpuQuota"),
    ("cpu-rt-period", "CpuRealtimePeriod"),
    ("cpu-rt-runtime", "CpuRealtimeRuntime"),
    ("cpuset-cpus", "CpusetCpus"),
    ("cpuset-mems", "CpusetMems"),
    ("pids-limit", "PidsLimit"),
    ("blkio-weight", "BlkioWeight"),
    ("blkio-weight-device", "BlkioWeightDevice"),
    ("device-read-bps", "BlkioDeviceReadBps"),
    ("device-write-bps", "BlkioDeviceWriteBps"),
    ("device-read-iops", "BlkioDeviceReadIOps"),
    ("device-write-iops", "BlkioDeviceWriteIOps"),
    ("device-cgroup-rule", "DeviceCgroupRules"),
)


_WINDOWS = ("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops")


def build(
    flags: "Flags", args: list[str], environ: "Mapping[str, str]", path: str
) -> "tuple[dict[str, Any], str | None, str]":
    """See ``options.container_body``."""
    if foreign := [flag for flag in _WINDOWS if flag in flags]:
        what = "is only supported on a Docker daemon running on windows"
        here = "but the Docker daemon is running on linux"
        raise UsageError("\n".join(f'"--{flag}" {what}, {here}' for flag in foreign), 1)
    try:
        body = _body(flags, args, environ)
    except ValueError as error:
        raise UsageError(
            f"{PROGRAM}: {error}\n\nRun '{PROGRAM} {path} --help' for more information", 125
        ) from None
    if flags.get("detach"):
        if flags["attach"]:
            raise UsageError("conflicting options: cannot specify both --attach and --detach", 1)
        body.update(AttachStdin=False, AttachStdout=False, AttachStderr=False, StdinOnce=False)
    return body, flags["name"] or None, flags["platform"]


def check_attach(text: str) -> str:
    """Return the name of a stream in small letters (``--attach``). Raises ValueError."""
    if text.lower() not in {"stdin", "stdout", "stderr"}:
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def _body(flags: "Flags", args: list[str], environ: "Mapping[str, str]") -> "dict[str, Any]":
    if flags["pull"] not in {"always", "missing", "never"}:
        raise ValueError(
            f'invalid pull option: \'{flags["pull"]}\': must be one of "always", "missing" or "never"'
        )
    if flags["use-api-socket"]:
        raise ValueError("--use-api-socket is not supported")
    attach = flags["attach"]
    config: dict[str, Any] = {
        "Hostname": flags["hostname"],
        "Domainname": flags["domainname"],
        "User": flags["user"],
        "AttachStdin": flags["interactive"] or "stdin" in attach,
        "AttachStdout": not attach or "stdout" in attach,
        "AttachStderr": not attach or "stderr" in attach,
        "Tty": flags["tty"],
        "OpenStdin": flags["interactive"],
        "StdinOnce": flags["interactive"],  # -i attaches: the end of our input is the end of its
        "Env": [],
        "Cmd": args[1:] or None,
        "Image": args[0],
        "Volumes": {},
        "WorkingDir": flags["workdir"],
        "Entrypoint": [flags["entrypoint"]] if "entrypoint" in flags else None,
        "Labels": {},
    }
    host: dict[str, Any] = {"Binds": None, "PortBindings": {}}
    if mac := flags["mac-address"]:
        from sampan.cli.options.addresses import parse_mac

        if parse_mac(mac) is None:
            raise ValueError(f"{mac} is not a valid mac address")
    swappiness = flags["memory-swappiness"]
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise ValueError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    _add_storage(flags, config, host)
    _add_devices(flags, host)
    if "env" in flags or "env-file" in flags:
        from sampan.cli.options.env import environment

        config["Env"] = environment(flags, environ)
    if "label" in flags or "label-file" in flags:
        from sampan.cli.options.env import labels

        config["Labels"] = labels(flags)
    _check_modes(flags)
    _add_policies(flags, config, host)
    host["Dns"], host["DnsOptions"], host["DnsSearch"] = (
        flags["dns"],
        flags["dns-option"],
        flags["dns-search"],
    )
    host.update(
        (field, flags[flag]) for flag, field in _PLAIN if flag in flags and flags[flag] not in ("", [])
    )
    if flags["ulimit"]:
        host["Ulimits"] = [flags["ulimit"][name] for name in sorted(flags["ulimit"])]
    if flags["rm"] and host["RestartPolicy"]["Name"] not in {"", "no"}:
        raise ValueError("conflicting options: cannot specify both --restart and --rm")
    if "init" in flags:
        host["Init"] = flags["init"]
    if "stop-signal" in flags:
        config["StopSignal"] = flags["stop-signal"]
    if "stop-timeout" in flags:
        config["StopTimeout"] = flags["stop-timeout"]
    return {**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": _add_networks(flags, host)}}


def _add_storage(flags: "Flags", config: "dict[str, Any]", host: "dict[str, Any]") -> None:
    if "volume" in flags or "tmpfs" in flags:
        from sampan.cli.options.volumes import split_volumes, tmpfs

        binds, config["Volumes"] = split_volumes(flags["volume"])
        host["Binds"] = binds or None
        if "tmpfs" in flags:
            host["Tmpfs"] = tmpfs(flags["tmpfs"])
    if "publish" in flags or "expose" in flags:
        from sampan.cli.options.ports import publish

        config["ExposedPorts"], host["PortBindings"] = publish(flags["publish"], flags["expose"])


def _add_devices(flags: "Flags", host: "dict[str, Any]") -> None:
    requests = list(flags["gpus"])
    if "device" in flags:
        from sampan.cli.options.devices import split_devices

        host["Devices"], more = split_devices(flags["device"])
        requests += more
    if requests:
        host["DeviceRequests"] = requests


def _check_modes(flags: "Flags") -> None:
    """Refuse namespace modes that the API has no meaning for. Raises ValueError."""
    pid = flags["pid"]
    if not (pid in {"", "host"} or (pid.startswith("container:") and pid.removeprefix("container:"))):
        raise ValueError("--pid: invalid PID mode")
    if flags["uts"] not in {"", "host"}:
        raise ValueError("--uts: invalid UTS mode")
    if flags["userns"] not in {"", "host"}:
        raise ValueError("--userns: invalid USER mode")
    if flags["cgroupns"] not in {"", "host", "private"}:
        raise ValueError("--cgroupns: invalid CGROUP mode")


def _add_policies(flags: "Flags", config: "dict[str, Any]", host: "dict[str, Any]") -> None:
    host["RestartPolicy"] = {"Name": flags["restart"], "MaximumRetryCount": 0}
    if "restart" in flags:
        from sampan.cli.options.resources import parse_restart_policy

        host["RestartPolicy"] = parse_restart_policy(flags["restart"])
    if flags["log-driver"] == "none" and flags["log-opt"]:
        raise ValueError("invalid logging opts for driver none")
    options = {key: value for key, _, value in (option.partition("=") for option in flags["log-opt"])}
    host["LogConfig"] = {"Type": flags["log-driver"], "Config": options}
    if "security-opt" in flags:
        from sampan.cli.options.security import security_options

        host["SecurityOpt"], masked, readonly = security_options(flags["security-opt"])
        if masked is not None:
            host["MaskedPaths"], host["ReadonlyPaths"] = masked, readonly
    if "cap-add" in flags or "cap-drop" in flags:
        from sampan.cli.options.security import effective_capabilities

        host["CapAdd"], host["CapDrop"] = effective_capabilities(flags["cap-add"], flags["cap-drop"])
    if "storage-opt" in flags:
        from sampan.cli.options.security import storage_options

        host["StorageOpt"] = storage_options(flags["storage-opt"])
    if any(flag.startswith(("health-", "no-health")) for flag in flags):
        from sampan.cli.options.resources import health_check

        if check := health_check(flags):
            config["Healthcheck"] = check


def _add_networks(flags: "Flags", host: "dict[str, Any]") -> "dict[str, dict[str, Any]]":
    if not any(
        flag in flags for flag in ("network", "network-alias", "ip", "ip6", "mac-address", "link-local-ip")
    ):
        host["NetworkMode"] = "default"
        return {"default": {}}
    from sampan.cli.options.networks import endpoints

    host["NetworkMode"], found = endpoints(flags)
    return found
