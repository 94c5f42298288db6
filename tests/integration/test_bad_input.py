"""Bad input to a real daemon: one clear error in Docker's words, the right status, and the host as before."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from support.daemon import Daemon
from support.plain_http import ask, unix
from support.traces import assert_none_left, look

pytestmark = pytest.mark.root

ZEROS = "0" * 64


@pytest.fixture(scope="module")
def untouched(engine: Daemon) -> Iterator[Daemon]:
    """The folder's daemon, with a container in each state; what is left of the tests fails the last."""
    before = look(engine)
    files = open_files(engine)
    for name in ("ended", "created", "running", "paused", "vanishing"):
        host = {"AutoRemove": name == "vanishing"}
        document = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": host}
        ask(engine, f"POST /containers/create?name={name}", document)
        if name != "created":
            ask(engine, f"POST /containers/{name}/start")
        if name == "ended":
            ask(engine, "POST /containers/ended/kill")
            assert_none_left(before, engine)
    ask(engine, "POST /containers/paused/pause")
    inside = look(engine)
    yield engine
    assert look(engine) == inside
    for name in ("created", "running", "paused", "ended", "vanishing"):
        ask(engine, f"DELETE /containers/{name}?force=1")
    assert ask(engine, "GET /volumes")["Volumes"] in (None, [])
    assert_none_left(before, engine)
    assert "Traceback" not in engine.log.read_text(errors="replace")
    # What is opened at its first use stays: the runtime's copy, the view of the mounts, the log of the state;
    # and a socket may be closing.
    assert open_files(engine) <= files + 6


def open_files(daemon: Daemon) -> int:
    ask(daemon, "GET /_ping")
    return daemon.open_files()


def answer(daemon: Daemon, line: str, document: object = None) -> tuple[int, str]:
    """Ask, and return the status and the message of the answer (the whole body where it has none)."""
    with unix(daemon) as client:
        status, _, rest = client.ask(line, document, "Connection: close")
        body = client.read_all(rest).decode(errors="replace")
    if body.startswith("{") and "message" in (found := json.loads(body)):
        return status, str(found["message"])
    return status, body


def host(**settings: object) -> dict[str, object]:
    return {"HostConfig": settings}


def mount(kind: str, **settings: object) -> dict[str, object]:
    return host(Mounts=[{"Type": kind, "Target": "/x", **settings}])


def port(binding: object, name: str = "80/tcp") -> dict[str, object]:
    return host(PortBindings={name: binding})


def log(kind: str, **options: object) -> dict[str, object]:
    return host(LogConfig={"Type": kind, "Config": {k.replace("_", "-"): v for k, v in options.items()}})


def unmarshal(found: str, path: str, kind: str) -> str:
    place = f"Go struct field CreateContainer.{path}"
    return f"invalid JSON: json: cannot unmarshal {found} into {place} of type {kind}"


NUL = "NUL character"
VOLUME_NAME = (
    "includes invalid characters for a local volume name, only "
    '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
)
ABSOLUTE = "mount path must be absolute"
OUT_OF_RANGE = "into Go value of type int64"

TYPES: list[tuple[object, str]] = [
    ({"Cmd": 5}, "invalid JSON: json: cannot unmarshal number into Go struct field CreateContainer.Cmd"),
    ({"Cmd": [1]}, unmarshal("number", "Cmd[0]", "string")),
    ({"Env": "A=1"}, unmarshal("string", "Env", "[]string")),
    ({"Tty": "yes"}, unmarshal("string", "Tty", "bool")),
    ({"Hostname": 3}, unmarshal("number", "Hostname", "string")),
    ({"Image": 3}, unmarshal("number", "Image", "string")),
    ({"Labels": ["a"]}, unmarshal("array", "Labels", "map[string]string")),
    ({"Labels": {"a": 1}}, unmarshal("number", "Labels[...]", "string")),
    ({"StopTimeout": "x"}, unmarshal("string", "StopTimeout", "int64")),
    ({"Volumes": ["/a"]}, unmarshal("array", "Volumes", "map[string]string")),
    ({"Healthcheck": "x"}, "invalid JSON: json: cannot unmarshal string"),
    ({"HostConfig": []}, "invalid JSON: json: cannot unmarshal array"),
    ({"HostConfig": "x"}, "invalid JSON: json: cannot unmarshal string"),
    (host(Memory="1g"), unmarshal("string", "HostConfig.Memory", "int64")),
    (host(Memory=1.5), unmarshal("number", "HostConfig.Memory", "int64")),
    (host(Memory=1 << 63), OUT_OF_RANGE),
    (host(NanoCpus=-(1 << 63) - 1), OUT_OF_RANGE),
    (host(PidsLimit="x"), unmarshal("string", "HostConfig.PidsLimit", "int64")),
    (host(CapAdd="ALL"), unmarshal("string", "HostConfig.CapAdd", "[]string")),
    (host(GroupAdd=[5]), unmarshal("number", "HostConfig.GroupAdd[0]", "string")),
    (host(Binds="x"), unmarshal("string", "HostConfig.Binds", "[]string")),
    (host(Mounts={}), "invalid JSON: json: cannot unmarshal object"),
    (host(Tmpfs={"/x": 5}), unmarshal("number", "HostConfig.Tmpfs[...]", "string")),
    (host(RestartPolicy="always"), "invalid JSON: json: cannot unmarshal string"),
    (host(Sysctls={"net.a": 1}), unmarshal("number", "HostConfig.Sysctls[...]", "string")),
    (host(ConsoleSize=[-1, 1]), unmarshal("number", "HostConfig.ConsoleSize[0]", "uint64")),
    (host(BlkioDeviceReadBps=[{"Path": "/dev/null", "Rate": -1}]), "cannot unmarshal number into Go struct"),
    (port("80"), "invalid JSON: json: cannot unmarshal string"),
    (port([{"HostPort": 80}]), unmarshal("number", "HostConfig.PortBindings[...][0].HostPort", "string")),
    (host(PortBindings=[]), "invalid JSON: json: cannot unmarshal array"),
    (log("json-file", max_size=5), unmarshal("number", "HostConfig.LogConfig.Config[...]", "string")),
    ({"NetworkingConfig": {"EndpointsConfig": []}}, "invalid JSON: json: cannot unmarshal array"),
]
CONFIG: list[tuple[object, str]] = [
    ({"Env": [""]}, "invalid environment variable: "),
    ({"Env": ["=x"]}, "invalid environment variable: =x"),
    ({"Hostname": "a" * 65}, "is too long (maximum 64 bytes)"),
    ({"Hostname": "a\n127.0.0.1 b"}, "invalid character"),
    ({"Domainname": "a\nb"}, "invalid character"),
    ({"WorkingDir": "a/b"}, "the working directory 'a/b' is invalid, it needs to be an absolute path"),
    ({"Cmd": None, "Entrypoint": [""]}, "no command specified"),
    ({"StopSignal": "NOSUCH"}, "invalid signal: NOSUCH"),
    ({"StopSignal": "99"}, "the linux daemon does not support signal 99"),
    ({"MacAddress": "zz:zz"}, "invalid MAC address"),
    (
        {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 5}},
        "Interval in Healthcheck cannot be less than 1ms",
    ),
    ({"Healthcheck": {"Retries": -1}}, "Retries in Healthcheck cannot be negative"),
    ({"Image": ""}, "invalid reference format"),
    ({"Image": "UPPER/Case"}, "invalid reference format"),
    ({"Image": "../../etc/passwd"}, "invalid reference format"),
    ({"Image": "busybox@sha256:zz"}, "invalid reference format"),
    ({"ExposedPorts": {"x/tcp": {}}}, 'invalid port specification: "x"'),
    ({"ExposedPorts": {"80/xxx": {}}}, "invalid proto: xxx"),
    ({"ExposedPorts": {"70000/tcp": {}}}, 'invalid port specification: "70000"'),
    ({"ExposedPorts": {"20-10/tcp": {}}}, 'invalid port specification: "20-10"'),
]
NULS: list[tuple[object, str]] = [
    ({"Cmd": ["a\0b"]}, NUL),
    ({"Entrypoint": ["\0"]}, NUL),
    ({"Env": ["A=\0"]}, NUL),
    ({"Hostname": "a\0b"}, NUL),
    ({"User": "a\0b"}, NUL),
    ({"WorkingDir": "/a\0b"}, NUL),
    ({"Image": "busy\0box"}, NUL),
    ({"Volumes": {"/a\0b": {}}}, NUL),
    (host(Binds=["/tm\0p:/y"]), NUL),
    (host(CgroupParent="/a\0b"), NUL),
    (host(Devices=[{"PathOnHost": "/dev/nu\0ll"}]), NUL),
    (host(Sysctls={"net.a\0": "1"}), NUL),
    (host(NetworkMode="a\0"), NUL),
    (mount("bind", Source="/t\0mp"), NUL),
    (mount("tmpfs", Target="/x\0"), NUL),
]
LIMITS: list[tuple[object, str]] = [
    (host(Memory=-1), "Minimum memory limit allowed is 6MB"),
    (host(Memory=1000), "Minimum memory limit allowed is 6MB"),
    (
        host(Memory=10 << 20, MemorySwap=8 << 20),
        "Minimum memoryswap limit should be larger than memory limit",
    ),
    (
        host(MemorySwap=8 << 20),
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    ),
    (host(MemoryReservation=1), "Minimum memory reservation allowed is 6MB"),
    (host(Memory=10 << 20, MemoryReservation=20 << 20), "Minimum memory limit can not be less than memory"),
    (host(NanoCpus=10**12), "Range of CPUs is from 0.01 to "),
    (host(NanoCpus=-1), "Range of CPUs is from 0.01 to "),
    (
        host(NanoCpus=10**9, CpuPeriod=1000),
        "Conflicting options: Nano CPUs and CPU Period cannot both be set",
    ),
    (host(NanoCpus=10**9, CpuQuota=1000), "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
    (host(CpuShares=-1), "invalid CPU shares (-1): value must be a positive integer"),
    (host(CpuPeriod=10), "CPU cfs period can not be less than 1ms"),
    (host(CpuPeriod=-10), "CPU cfs period can not be less than 1ms"),
    (host(CpuQuota=10), "CPU cfs quota can not be less than 1ms"),
    (host(CpusetCpus="999"), "Requested CPUs are not available - requested 999, available: "),
    (host(CpusetCpus="a"), "Invalid value a for cpuset cpus"),
    (host(CpusetCpus="1-0"), "Invalid value 1-0 for cpuset cpus"),
    (host(CpusetCpus="0-99999999999"), "Invalid value 0-99999999999 for cpuset cpus"),
    (host(CpusetMems="999"), "Requested memory nodes are not available - requested 999, available: "),
    (host(Ulimits=[{"Name": "nosuch", "Soft": 1, "Hard": 1}]), "invalid ulimit type: nosuch"),
    (
        host(Ulimits=[{"Name": "nofile", "Soft": 2, "Hard": 1}]),
        "ulimit soft limit must be less than or equal",
    ),
    (host(OomScoreAdj=2000), "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
    (host(CgroupParent="/" + "x" * 300), "file name too long"),
    (host(CgroupParent="/xx" * 1000), "file name too long"),
    (host(ShmSize=-1), "SHM size can not be less than 0"),
    (host(StorageOpt={"size": "1G"}), "--storage-opt is supported only for"),
    (host(IOMaximumIOps=5), "QoS maximum IOPs configuration is not supported on linux"),
    (host(IOMaximumBandwidth=5), "QoS maximum bandwidth configuration is not supported on linux"),
]
SECURITY: list[tuple[object, str]] = [
    (host(CapAdd=["NOSUCH"]), 'invalid CapAdd: unknown capability: "CAP_NOSUCH"'),
    (host(CapDrop=["CAP_NOSUCH"]), 'invalid CapDrop: unknown capability: "CAP_NOSUCH"'),
    (host(SecurityOpt=["what"]), 'invalid --security-opt 1: "what"'),
    (host(SecurityOpt=["what=x"]), 'invalid --security-opt 2: "what=x"'),
    (host(SecurityOpt=["no-new-privileges=maybe"]), 'invalid --security-opt 2: "no-new-privileges=maybe"'),
    (host(SecurityOpt=["seccomp=/nosuch"]), "Decoding seccomp profile failed"),
    (host(Sysctls={"kernel.panic": "1"}), 'sysctl "kernel.panic" is not in a separate kernel namespace'),
    (host(NetworkMode="host", Sysctls={"net.ipv4.ip_forward": "1"}), "not allowed in host network namespace"),
    (
        host(Devices=[{"PathOnHost": "/dev/null", "CgroupPermissions": "xyz"}]),
        "invalid device cgroup permissions",
    ),
    (host(DeviceCgroupRules=["x"]), "invalid device cgroup rule format: 'x'"),
    (
        host(DeviceRequests=[{"Driver": "gpus", "Capabilities": [["gpu"]]}]),
        'could not select device driver "gpus"',
    ),
    (host(IpcMode="nosuch"), "invalid IPC mode: nosuch"),
    (host(PidMode="nosuch"), "invalid PID mode: nosuch"),
    (host(UTSMode="nosuch"), "invalid UTS mode: nosuch"),
    ({"Hostname": "x", **host(UTSMode="host")}, "conflicting options: hostname and the UTS mode"),
    (host(UsernsMode="nosuch"), "invalid USER mode: nosuch"),
    (host(CgroupnsMode="nosuch"), "invalid cgroup namespace mode: nosuch"),
    (host(Isolation="hyperv"), "invalid isolation (hyperv): linux only supports 'default'"),
    (host(Annotations={"": "x"}), "the empty string is not permitted as an annotation key"),
    (host(Runtime="nosuch"), "unknown or invalid runtime name: nosuch"),
    (host(Runtime="../../bin/sh"), "unknown or invalid runtime name: ../../bin/sh"),
]
MOUNTS: list[tuple[object, str]] = [
    ({"Volumes": {"/": {}}}, "destination can't be '/'"),
    (host(Binds=[""]), "invalid volume specification: ''"),
    (host(Binds=["/tmp:/"]), "destination can't be '/'"),
    (host(Binds=["/tmp:y"]), ABSOLUTE),
    (host(Binds=["/tmp:/y:zz"]), "invalid mode: zz"),
    (host(Binds=["/a:/b:ro:rw"]), "invalid volume specification: '/a:/b:ro:rw'"),
    (host(Binds=["/tmp:/y", "/etc:/y"]), "Duplicate mount point: /y"),
    (host(Binds=["/tmp:/y"], Tmpfs={"/y": ""}), "Duplicate mount point: /y"),
    (host(Binds=["rel/x:/y"]), f'create rel/x: "rel/x" {VOLUME_NAME}'),
    (host(Binds=["..:/y"]), f'create ..: ".." {VOLUME_NAME}'),
    (mount("bind", Source="/nosuch/path"), "bind source path does not exist: /nosuch/path"),
    (mount("bind", Source="tmp"), ABSOLUTE),
    (mount("bind"), "field Source must not be empty"),
    (mount("bind", Source="/tmp", Target=""), "field Target must not be empty"),
    (mount("bind", Source="/tmp", VolumeOptions={}), "field VolumeOptions must not be specified"),
    (mount("bind", Source="/tmp", BindOptions={"Propagation": "zz"}), "invalid propagation mode: zz"),
    (mount("what", Source="/tmp"), 'invalid mount config for type "what": mount type unknown'),
    (mount("volume", Source="v", VolumeOptions={"Subpath": "../x"}), "subpath must be a relative path"),
    (mount("volume", Source="a/b"), f'create a/b: "a/b" {VOLUME_NAME}'),
    (mount("tmpfs", Source="v"), "field Source must not be specified"),
    (mount("tmpfs", TmpfsOptions={"SizeBytes": -5}), "size must not be negative"),
    (host(Tmpfs={"x": ""}), ABSOLUTE),
    (host(Tmpfs={"/": ""}), "destination can't be '/'"),
    (host(Tmpfs={"/x": "nosuch"}), 'invalid tmpfs option "nosuch"'),
    (host(VolumesFrom=["running:zz"]), "invalid mode: zz"),
    (host(VolumesFrom=[""]), "volumes-from specification cannot be an empty string"),
]
NETWORK: list[tuple[object, str]] = [
    (port([{}], "x/tcp"), 'invalid port specification: "x"'),
    (port([{}], "80/xxx"), "invalid proto: xxx"),
    (port([{}], "70000/tcp"), 'invalid port specification: "70000"'),
    (port([{}], ""), 'invalid port specification: ""'),
    (port([{"HostPort": "x"}]), 'invalid port specification: "x"'),
    (port([{"HostPort": "70000"}]), 'invalid port specification: "70000"'),
    (port([{"HostPort": "-1"}]), 'invalid port specification: "-1"'),
    (port([{"HostPort": "20-10"}]), 'invalid port specification: "20-10"'),
    (port([{"HostIp": "300.1.1.1", "HostPort": "80"}]), "invalid IP address: 300.1.1.1"),
    (port([{"HostIp": "localhost", "HostPort": "80"}]), "invalid IP address: localhost"),
    (host(Dns=["notanip"]), "notanip"),
    (host(Dns=["192.0.2.1\nx"]), "192.0.2.1"),
    (host(DnsSearch=["a\nnameserver 192.0.2.6"]), "invalid character"),
    (host(DnsOptions=["a\nb"]), "invalid character"),
    (host(ExtraHosts=["x"]), 'bad format for add-host: "x"'),
    (host(ExtraHosts=["x:notip"]), 'invalid IP address in add-host: "notip"'),
    (host(ExtraHosts=["x\ny:192.0.2.1"]), "bad format for add-host"),
    (host(Links=["a:b:c"]), "bad format for links: a:b:c"),
    (host(Links=[""]), "empty string specified for links"),
    (
        {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "192.0.2.9"}}}}},
        "user-specified IP address is supported on user-defined networks only",
    ),
    (
        {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": ["x"]}}}},
        "network-scoped aliases are only supported for user-defined networks",
    ),
    ({"NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": "zz"}}}}, "invalid MAC address"),
    ({"Hostname": "x", **host(NetworkMode="container:running")}, "conflicting options: hostname"),
]
LOGS_AND_RESTARTS: list[tuple[object, str]] = [
    (log("nosuch"), 'error looking up logging plugin nosuch: plugin "nosuch" not found'),
    (log("json-file", nosuch="1"), "unknown log opt 'nosuch' for json-file log driver"),
    (log("local", labels="1", nosuch="1"), "unknown log opt 'nosuch'"),
    (log("json-file", max_size="abc"), "invalid size: 'abc'"),
    (log("json-file", max_size="-5"), "invalid size: '-5'"),
    (log("json-file", max_file="0"), "max-file cannot be less than 1"),
    (log("json-file", max_file="x"), 'parsing "x": invalid syntax'),
    (log("json-file", compress="true"), "compress cannot be true when max-file is less than 2"),
    (log("json-file", mode="zz"), "logger: logging mode not supported: zz"),
    (log("json-file", mode="non-blocking", max_buffer_size="x"), "error parsing option max-buffer-size"),
    (log("json-file", labels_regex="("), "error parsing regexp"),
    (host(RestartPolicy={"Name": "nosuch"}), "invalid restart policy: unknown policy 'nosuch'; use one of"),
    (
        host(RestartPolicy={"Name": "on-failure", "MaximumRetryCount": -1}),
        "maximum retry count cannot be negative",
    ),
    (
        host(RestartPolicy={"Name": "always", "MaximumRetryCount": 3}),
        "maximum retry count can only be used with 'on-failure'",
    ),
    (
        host(AutoRemove=True, RestartPolicy={"Name": "always"}),
        "can't create 'AutoRemove' container with restart policy",
    ),
]
UNKNOWN: list[tuple[object, str]] = [
    ({"Image": "nosuch"}, "No such image: nosuch:latest"),
    ({"Image": f"busybox@sha256:{ZEROS}"}, f"No such image: busybox@sha256:{ZEROS}"),
    ({"Image": f"sha256:{ZEROS}"}, f"No such image: sha256:{ZEROS}"),
    (host(NetworkMode="container:nosuch"), "No such container: nosuch"),
    (host(Links=["nosuch:x"]), "could not get container for nosuch: No such container: nosuch"),
    (host(IpcMode="container:nosuch"), "No such container: nosuch"),
    (host(PidMode="container:nosuch"), "No such container: nosuch"),
    (host(VolumesFrom=["nosuch"]), "No such container: nosuch"),
    (host(VolumeDriver="nosuch", Binds=["v:/x"]), 'plugin "nosuch" not found'),
    (
        mount("volume", Source="v", VolumeOptions={"DriverConfig": {"Name": "nosuch"}}),
        'plugin "nosuch" not found',
    ),
]
CREATIONS = {
    "types": TYPES,
    "config": CONFIG,
    "nul": NULS,
    "limits": LIMITS,
    "security": SECURITY,
    "mounts": MOUNTS,
    "network": NETWORK,
    "logs": LOGS_AND_RESTARTS,
    "unknown": UNKNOWN,
}


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [(kind, change, message) for kind, rows in CREATIONS.items() for change, message in rows],
    ids=[f"{kind}-{json.dumps(change)[:70]}" for kind, rows in CREATIONS.items() for change, _ in rows],
)
def test_a_container_that_makes_no_sense_is_not_created(
    untouched: Daemon, kind: str, change: dict[str, Any], message: str
) -> None:
    status, said = answer(
        untouched, "POST /containers/create?name=victim", {"Image": "busybox", "Cmd": ["true"], **change}
    )
    assert message in said
    assert status == (404 if "No such image" in message else 400)  # on a 404 clients pull the image
    assert answer(untouched, "GET /containers/victim/json")[0] == 404


STARTS: list[tuple[object, int, str]] = [
    ({"User": "nosuch"}, 500, "unable to find user nosuch: no matching entries in passwd file"),
    ({"User": "root:nosuch"}, 500, "unable to find group nosuch: no matching entries in group file"),
    ({"User": "-1"}, 500, "uids and gids must be in range 0-2147483647"),
    ({"Cmd": ["nosuch"]}, 400, 'exec: "nosuch": executable file not found in $PATH'),
    ({"Cmd": ["/etc"]}, 400, 'exec: "/etc": is a directory'),
    ({"WorkingDir": "/etc/passwd"}, 500, "Cannot mkdir: /etc/passwd is not a directory"),
    ({"MacAddress": "01:00:00:00:00:00"}, 500, "failed to set up container networking"),
    (host(GroupAdd=["nosuch"]), 500, "unable to find group nosuch: no matching entries in group file"),
    (
        host(Devices=[{"PathOnHost": "/nosuch"}]),
        500,
        'adding custom device "/nosuch": no such file or directory',
    ),
    (host(Devices=[{"PathOnHost": "/etc/passwd", "PathInContainer": "/dev/x"}]), 500, "not a device node"),
    (host(SecurityOpt=['seccomp={"defaultAction":"NOSUCH"}']), 500, "invalid seccomp profile"),
    (host(Sysctls={"net.../../kernel.panic": "1"}), 400, "unable to start container process"),
    (host(Sysctls={"net.nosuch": "1"}), 400, "unable to start container process"),
    (host(Tmpfs={"/x": "size=abc"}), 500, "unable to start container process"),
    (mount("tmpfs", Target="/" + "x" * 300), 500, "unable to start container process"),
    (host(NetworkMode="nosuch"), 404, "network nosuch not found"),
    (host(NetworkMode="../x"), 404, "network ../x not found"),
    ({"NetworkingConfig": {"EndpointsConfig": {"nosuch": {}}}}, 404, "network nosuch not found"),
    (host(NetworkMode="container:ended"), 409, "cannot join network namespace of a non running container"),
    (host(Links=["ended:x"]), 409, "Cannot link to a non running container: /ended AS /x"),
    (port([{"HostIp": "203.0.113.77", "HostPort": "8081"}]), 500, "cannot assign requested address"),
    (
        host(PortBindings={"80/tcp": [{"HostPort": "8080"}], "81/tcp": [{"HostPort": "8080"}]}),
        500,
        "port is already allocated",
    ),
]


@pytest.mark.parametrize(
    ("change", "status", "message"), STARTS, ids=[json.dumps(change)[:70] for change, _, _ in STARTS]
)
def test_a_container_that_cannot_start_stays_created(
    untouched: Daemon, change: dict[str, Any], status: int, message: str
) -> None:
    document = {"Image": "busybox", "Cmd": ["true"], **change}
    ask(untouched, "POST /containers/create?name=victim", document)
    before = look(untouched)
    try:
        code, said = answer(untouched, "POST /containers/victim/start")
        assert message in said
        assert code == status
        state = ask(untouched, "GET /containers/victim/json")["State"]
        assert (state["Status"], state["Running"], state["Pid"]) == ("created", False, 0)
        assert message in state["Error"]
        assert state["ExitCode"] != 0
        assert_none_left(before, untouched)
    finally:
        ask(untouched, "DELETE /containers/victim")


NAMES = ["a", "-x", "_x", ".x", "a b", "a/b", "/", "//x", "..", "../x", "a\0b", "é", "a\\b", "a\nb"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_are_none_are_refused(untouched: Daemon, name: str) -> None:
    message = "Invalid container name ({}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    document = {"Image": "busybox"}
    assert answer(untouched, f"POST /containers/create?name={quote(name, safe='')}", document) == (
        400,
        message.format(name),
    )
    slashed = name if name.startswith("/") else f"/{name}"
    assert answer(untouched, f"POST /containers/created/rename?name={quote(name, safe='')}") == (
        400,
        "Error when allocating new name: " + message.format(slashed),
    )


@pytest.mark.parametrize("name", ["running", "/running"])
def test_a_used_name_names_its_owner(untouched: Daemon, name: str) -> None:
    owner = ask(untouched, "GET /containers/running/json")["Id"]
    status, said = answer(untouched, f"POST /containers/create?name={name}", {"Image": "busybox"})
    assert status == 409
    assert said.startswith(
        f'Conflict. The container name "/running" is already in use by container "{owner}". You have'
    )
    assert answer(untouched, f"POST /containers/created/rename?name={name}")[0] == 409


NO_CONTAINER = "No such container: nosuch"
NOT_RUNNING = "is not running"
NOT_FOUND = [
    *(
        f"POST /containers/nosuch/{verb}"
        for verb in "start stop kill restart pause unpause wait attach".split()
    ),
    "POST /containers/nosuch/rename?name=other",
    "POST /containers/nosuch/resize?h=1&w=1",
    "DELETE /containers/nosuch",
    *(f"GET /containers/nosuch/{what}" for what in ("json", "logs?stdout=1", "top", "changes", "export")),
]
REQUESTS: list[tuple[str, int, str]] = [
    *((line, 404, NO_CONTAINER) for line in NOT_FOUND),
    ("GET /containers/%2e%2e/json", 404, "No such container: .."),
    ("GET /containers/a%00b/json", 404, "No such container: a\0b"),
    ("GET /containers/%2Fetc%2Fpasswd/json", 404, "page not found"),
    ("GET /containers/running%2F..%2Fcreated/json", 404, "page not found"),
    (f"GET /containers/{'a' * 5000}/json", 404, "No such container: aaa"),
    *(
        (f"{method} /containers/{name}/{verb}", 409, NOT_RUNNING)
        for name in ("created", "ended")
        for method, verb in (
            ("POST", "kill"),
            ("POST", "pause"),
            ("POST", "resize?h=1&w=1"),
            ("GET", "top"),
        )
    ),
    ("POST /containers/running/unpause", 409, "is not paused"),
    ("POST /containers/paused/pause", 409, "is already paused"),
    ("POST /containers/paused/start", 409, "cannot start a paused container, try unpause instead"),
    ("GET /containers/paused/top", 409, "is paused, unpause the container before top"),
    (
        "POST /containers/paused/attach?stream=1&stdout=1",
        409,
        "is paused, unpause the container before attach",
    ),
    ("POST /containers/running/start", 304, ""),
    ("POST /containers/ended/stop", 304, ""),
    ("DELETE /containers/running", 409, 'cannot remove container "/running": container is running'),
    ("DELETE /containers/paused", 409, 'cannot remove container "/paused": container is paused'),
    ("DELETE /containers/created?link=1", 409, "cannot remove the default link name of the container"),
    *(
        (f"POST /containers/running/kill?signal={signal}", 400, f"invalid signal: {signal}")
        for signal in ("NOSUCH", "0", "-1", "SIG", "9" * 30)
    ),
    ("POST /containers/running/kill?signal=65", 400, "the linux daemon does not support signal 65"),
    ("POST /containers/running/stop?signal=NOSUCH", 400, "invalid signal: NOSUCH"),
    ("POST /containers/running/stop?t=x", 400, 'strconv.Atoi: parsing "x": invalid syntax'),
    (f"POST /containers/running/restart?t={'9' * 30}", 400, "value out of range"),
    ("POST /containers/running/resize?h=x&w=1", 400, 'invalid resize height "x": invalid syntax'),
    ("POST /containers/running/resize?h=1", 400, 'invalid resize width "": invalid syntax'),
    ("POST /containers/running/resize?h=-1&w=1", 400, 'invalid resize height "-1": value out of range'),
    ("POST /containers/running/wait?condition=nosuch", 400, 'invalid condition: "nosuch"'),
    ("POST /containers/running/rename", 400, "Neither old nor new names may be empty"),
    ("POST /containers/running/rename?name=running", 400, "the same name as its current name"),
    ("GET /containers/running/logs", 400, "Bad parameters: you must choose at least one stream"),
    ("GET /containers/running/logs?stdout=1&since=x", 400, "'x'"),
    ("GET /containers/running/logs?stdout=1&until=x", 400, "'x'"),
    ("GET /containers/running/top?ps_args=-o%20nosuch", 500, "unknown user-defined format specifier"),
    ("GET /containers/running/top?ps_args=%3B%20touch%20%2Fx", 500, "garbage option"),
    ("POST /containers/running/attach?stream=1&stdout=1&detachKeys=ctrl-", 400, "Unknown character: 'ctrl-'"),
    ("GET /containers/json?limit=x", 400, 'strconv.Atoi: parsing "x": invalid syntax'),
    ("GET /containers/json?before=nosuch", 404, NO_CONTAINER),
    ("GET /containers/json?all=%zz", 400, 'invalid URL escape "%zz"'),
    ("GET /containers/json?all=1;size=1", 400, "invalid semicolon separator in query"),
    ("GET /exec/nosuch/json", 404, "No such exec instance: nosuch"),
    ("POST /exec/nosuch/resize?h=1&w=1", 404, "No such exec instance: nosuch"),
    ("GET /images/nosuch/json", 404, "No such image: nosuch:latest"),
    ("GET /images/%2e%2e/json", 400, "invalid reference format"),
    ("GET /images/a%00b/json", 400, "invalid reference format"),
    ("GET /images/nosuch/history", 404, "No such image: nosuch:latest"),
    ("DELETE /images/nosuch", 404, "No such image: nosuch:latest"),
    ("DELETE /images/busybox", 409, 'unable to remove repository reference "busybox" (must force)'),
    ("POST /images/busybox/tag?repo=UPPER", 400, "must be lowercase"),
    ("POST /images/busybox/tag?repo=other&tag=a/b", 400, "invalid tag format"),
    ("POST /images/nosuch/tag?repo=other", 404, "No such image: nosuch:latest"),
    (f"POST /images/busybox/tag?repo=x@sha256:{ZEROS}", 400, "digest reference"),
    ("GET /networks/nosuch", 404, "network nosuch not found"),
    ("GET /volumes/nosuch", 404, "get nosuch: no such volume"),
    ("GET /events?since=10&until=5", 400, "`since` time (10) cannot be after `until` time (5)"),
    ("GET /events?since=x&until=1", 400, "'x'"),
    ("GET /v1.23/_ping", 400, "client version 1.23 is too old. Minimum supported API version is 1.24"),
    ("GET /v1.99/_ping", 400, "client version 1.99 is too new. Maximum supported API version is 1.51"),
    (f"GET /v{'9' * 30}.1/_ping", 400, "is too new"),
    ("GET /v0/_ping", 400, "client version 0 is too old"),
    ("GET /v1.x/_ping", 404, "page not found"),
    ("GET /v1.47/../_ping", 404, "page not found"),
    ("GET //_ping", 404, "page not found"),
    ("GET /nosuch", 404, "page not found"),
    ("GET /containers/", 404, "page not found"),
    ("PUT /containers/json", 404, "page not found"),
    ("FOO /_ping", 404, "page not found"),
    ("POST /swarm/init", 501, "not supported by this version of sampan"),
]


@pytest.mark.parametrize(
    ("line", "status", "message"), REQUESTS, ids=[line.replace("/", " ")[:60] for line, _, _ in REQUESTS]
)
def test_a_request_that_makes_no_sense_is_answered(
    untouched: Daemon, line: str, status: int, message: str
) -> None:
    code, said = answer(untouched, line)
    assert message in said
    assert code == status


FILTERS: list[tuple[str, str, str]] = [
    *(
        (path, text, "invalid filter")
        for path in ("GET /containers/json", "GET /images/json", "POST /containers/prune")
        for text in ("{", "[]", "x", '{"label":5}', '{"nosuch":["a"]}')
    ),
    (
        "GET /containers/json",
        '{"status":["nosuch"]}',
        "invalid value for state (nosuch): must be one of created",
    ),
    ("GET /containers/json", '{"health":["x"]}', "invalid value for health (x)"),
    ("GET /containers/json", '{"exited":["x"]}', "invalid filter 'exited=x'"),
    ("GET /containers/json", '{"is-task":["x"]}', "invalid filter 'is-task=[x]'"),
    ("GET /containers/json", '{"publish":["x/y/z"]}', "x/y/z"),
    ("GET /containers/json", '{"expose":["70000"]}', "70000"),
    ("GET /containers/json", '{"name":["("]}', "invalid filter 'name=('"),
    ("GET /containers/json", '{"id":["*"]}', "invalid filter 'id=*'"),
    ("GET /images/json", '{"dangling":["x"]}', "invalid filter 'dangling=[x]'"),
    ("GET /images/json", '{"reference":["["]}', "syntax error in pattern"),
    ("GET /images/json", '{"until":["x"]}', "'x'"),
    ("POST /containers/prune", '{"until":["x"]}', "'x'"),
]


@pytest.mark.parametrize(("path", "text", "message"), FILTERS)
def test_filters_that_make_no_sense_are_refused(
    untouched: Daemon, path: str, text: str, message: str
) -> None:
    status, said = answer(untouched, f"{path}?filters={quote(text)}")
    assert message in said
    assert status == 400


UPDATES: list[tuple[dict[str, object], str]] = [
    ({"Memory": -1}, "Minimum memory limit allowed is 6MB"),
    ({"Memory": "x"}, "cannot unmarshal string"),
    (
        {"Memory": 1 << 62, "MemorySwap": 1 << 61},
        "Minimum memoryswap limit should be larger than memory limit",
    ),
    ({"CpuShares": -1}, "invalid CPU shares (-1)"),
    ({"NanoCpus": 10**15}, "Range of CPUs is from 0.01 to"),
    ({"CpuPeriod": 5}, "CPU cfs period can not be less than 1ms"),
    ({"CpuQuota": 5}, "CPU cfs quota can not be less than 1ms"),
    ({"CpusetCpus": "999"}, "Requested CPUs are not available"),
    ({"RestartPolicy": {"Name": "nosuch"}}, "unknown policy 'nosuch'"),
    ({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 2}}, "can only be used with 'on-failure'"),
]


@pytest.mark.parametrize(("change", "message"), UPDATES, ids=[json.dumps(change) for change, _ in UPDATES])
def test_an_update_that_makes_no_sense_changes_nothing(
    untouched: Daemon, change: dict[str, object], message: str
) -> None:
    before = ask(untouched, "GET /containers/running/json")["HostConfig"]
    status, said = answer(untouched, "POST /containers/running/update", change)
    assert message in said
    assert status == 400
    assert ask(untouched, "GET /containers/running/json")["HostConfig"] == before


def test_an_update_does_not_lift_what_confines(untouched: Daemon) -> None:
    before = ask(untouched, "GET /containers/running/json")["HostConfig"]
    assert (
        answer(untouched, "POST /containers/running/update", {"Privileged": True, "Binds": ["/:/x"]})[0]
        == 200
    )
    assert ask(untouched, "GET /containers/running/json")["HostConfig"] == before
    policy = {"RestartPolicy": {"Name": "always"}}
    status, said = answer(untouched, "POST /containers/vanishing/update", policy)
    assert "Restart policy cannot be updated because AutoRemove is enabled for the container" in said
    assert status == 400


EXECS: list[tuple[str, dict[str, object], int, str]] = [
    ("running", {}, 400, "No exec command specified"),
    ("running", {"Cmd": []}, 400, "No exec command specified"),
    ("running", {"Cmd": 5}, 400, "cannot unmarshal number"),
    ("running", {"Cmd": ["x"], "DetachKeys": "ctrl-"}, 400, "Unknown character: 'ctrl-'"),
    ("running", {"Cmd": ["a\0b"]}, 400, NUL),
    ("nosuch", {"Cmd": ["x"]}, 404, NO_CONTAINER),
    ("created", {"Cmd": ["x"]}, 409, NOT_RUNNING),
    ("ended", {"Cmd": ["x"]}, 409, NOT_RUNNING),
    ("paused", {"Cmd": ["x"]}, 409, "is paused, unpause the container before exec"),
]


@pytest.mark.parametrize(("name", "document", "status", "message"), EXECS)
def test_an_exec_that_makes_no_sense_is_not_created(
    untouched: Daemon, name: str, document: dict[str, object], status: int, message: str
) -> None:
    code, said = answer(untouched, f"POST /containers/{name}/exec", document)
    assert message in said
    assert code == status


EXEC_STARTS: list[tuple[dict[str, object], str]] = [
    ({"Cmd": ["nosuch"]}, 'exec: "nosuch": executable file not found in $PATH'),
    ({"Cmd": ["/etc"]}, 'exec: "/etc": is a directory'),
    ({"Cmd": ["true"], "User": "nosuch"}, "unable to find user nosuch: no matching entries in passwd file"),
    ({"Cmd": ["true"], "WorkingDir": "/nosuch"}, 'chdir to cwd ("/nosuch") set in config.json failed'),
]


@pytest.mark.parametrize(("document", "message"), EXEC_STARTS)
def test_an_exec_that_cannot_start_says_why_once(
    untouched: Daemon, document: dict[str, object], message: str
) -> None:
    for detach in (False, True):
        wanted = {"AttachStdout": True, "AttachStderr": True, **document}
        exec_id = ask(untouched, "POST /containers/running/exec", wanted)["Id"]
        status, said = answer(untouched, f"POST /exec/{exec_id}/start", {"Detach": detach})
        assert message in said
        assert status == (400 if detach else 200)  # the client of an attached one has its answer already
        found = ask(untouched, f"GET /exec/{exec_id}/json")
        assert (found["Running"], found["ExitCode"]) == (False, 126)
        status, said = answer(untouched, f"POST /exec/{exec_id}/start", {"Detach": True})
        assert (status, said) == (409, f"exec command {exec_id} has already run")


def exchange(daemon: Daemon, data: bytes, *, end: bool = True) -> tuple[int, str]:
    """Send raw bytes and, if there is to be one, the end; return the status and the body of the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(daemon.socket))
        try:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass  # answered before it had read everything
        received = b""
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def creation(body: bytes, *headers: str) -> bytes:
    lines = [
        "POST /containers/create HTTP/1.1",
        "Host: d",
        "Connection: close",
        f"Content-Length: {len(body)}",
    ]
    return (
        "\r\n".join([*lines, *(headers or ("Content-Type: application/json",))]).encode() + b"\r\n\r\n" + body
    )


BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, "invalid JSON: got EOF while reading request body"),
    (b"{", 400, "invalid JSON: unexpected EOF"),
    (b"[]", 400, "invalid JSON: json: cannot unmarshal array into Go value of type CreateContainer"),
    (b"null", 400, "config cannot be empty in order to create a container"),
    (b"{}{}", 400, "unexpected content after JSON"),
    (b'{"Image":}', 400, "invalid JSON: invalid character '}' looking for beginning of value"),
    (b"\xff\xfe", 400, "invalid JSON: invalid character"),
    (b'{"Image":"\xff"}', 400, "invalid reference format"),
    (b"[" * 100_000, 400, "invalid JSON: exceeded max depth"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, 400, "invalid JSON: exceeded max depth"),
    (b'{"HostConfig":{"Memory":99999999999999999999999}}', 400, OUT_OF_RANGE),
    (b'{"image":"nosuch"}', 404, "No such image: nosuch:latest"),
    (b'{"Image":"' + b"x" * (17 << 20) + b'"}', 413, "request body is larger than 16 MiB"),
]


@pytest.mark.parametrize(
    ("body", "status", "message"), BODIES, ids=[repr(body[:30]) for body, _, _ in BODIES]
)
def test_a_body_that_is_no_document_is_refused(
    untouched: Daemon, body: bytes, status: int, message: str
) -> None:
    code, said = exchange(untouched, creation(body))
    assert message in said
    assert code == status


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ";;"]
)
def test_only_json_is_read(untouched: Daemon, kind: str) -> None:
    status, said = exchange(untouched, creation(b'{"Image":"nosuch"}', f"Content-Type: {kind}"))
    assert f"unsupported Content-Type header ({kind}): must be 'application/json'" in said
    assert status == 400
    assert "unsupported Content-Type header ()" in exchange(untouched, creation(b"{}", "X: y"))[1]


POST = b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
RAW: list[tuple[str, bytes, int]] = [
    ("a header of 2 MiB", POST + b"X: " + b"y" * (2 << 20) + b"\r\n\r\n", 431),
    ("20000 headers", POST + b"".join(b"X%d: y\r\n" % number for number in range(20000)) + b"\r\n", 431),
    ("a path of 2 MiB", b"GET /" + b"x" * (2 << 20) + b" HTTP/1.1\r\nHost: d\r\n\r\n", 431),
    ("no host", b"GET /_ping HTTP/1.1\r\n\r\n", 400),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("NUL in the path", b"GET /\0 HTTP/1.1\r\nHost: d\r\n\r\n", 400),
    ("NUL in a header", b"GET /_ping HTTP/1.1\r\nHost: d\r\nX: a\0b\r\n\r\n", 400),
    ("a length that is no number", POST + b"Content-Length: x\r\n\r\n", 400),
    ("a negative length", POST + b"Content-Length: -1\r\n\r\n", 400),
    ("two lengths", POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
    ("two framings", POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("a broken chunk", POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
    ("an unknown encoding", POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    ("a body cut short", POST + b"Content-Length: 100\r\n\r\n{", 400),
    ("a length beyond all bounds", POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}", 400),
    ("a folded header", b"GET /_ping HTTP/1.1\r\nHost: d\r\nX: a\r\n b\r\n\r\n", 400),
    ("a proxy request", b"CONNECT x:80 HTTP/1.1\r\nHost: d\r\n\r\n", 400),
]


@pytest.mark.parametrize(("data", "status"), [row[1:] for row in RAW], ids=[row[0] for row in RAW])
def test_what_is_not_http_gets_one_answer_and_an_end(untouched: Daemon, data: bytes, status: int) -> None:
    code, said = exchange(untouched, data)
    assert code == status
    assert json.loads(said)["message"]


def test_bytes_that_never_become_a_request_are_dropped(untouched: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(untouched.socket))
        connection.sendall(
            bytes.fromhex("16030100a5010000a10303") + bytes(160)
        )  # what opens a TLS connection
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536)[:12] in (b"", b"HTTP/1.1 400")
    ask(untouched, "GET /_ping")


@pytest.mark.parametrize(
    "body", [b"", b"hello", bytes(1024), b"\x1f\x8b\x08\0garbage", b"BZh9garbage"], ids=len
)
def test_a_load_of_garbage_leaves_no_image(untouched: Daemon, body: bytes) -> None:
    before = ask(untouched, "GET /images/json?all=1")
    head = "POST /images/load HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/x-tar\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    status, said = exchange(untouched, request, end=False)
    assert status in (200, 400, 500)
    assert "error" in said
    assert ask(untouched, "GET /images/json?all=1") == before
    assert list((untouched.data_root / "tmp").iterdir()) == []


def test_a_start_takes_no_body(untouched: Daemon) -> None:
    status, said = answer(untouched, "POST /containers/created/start", {"Binds": ["/tmp:/x"]})
    assert said == (
        "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
    )
    assert status == 400
