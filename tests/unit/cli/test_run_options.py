"""Flags of run and create against Docker's tables: what is sent, and what is refused in which words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.shared import table

from sampan.cli.options import container_body
from sampan.cli.options.devices import parse_device
from sampan.cli.options.env import parse_lines
from sampan.cli.options.mounts import parse_mount
from sampan.cli.options.networks import parse_network, split_link
from sampan.cli.options.ports import (
    parse_port,
    parse_publish,
    parse_range,
    parse_service_port,
    port_number,
    render_publish,
    short_form,
    split_protocol,
)
from sampan.cli.options.resources import parse_restart_policy, render_cpus
from sampan.cli.options.security import effective_capabilities, normal_capability, system_paths
from sampan.cli.parser import UsageError, parse


def body(
    *flags: str, environ: dict[str, str] | None = None, image: tuple[str, ...] = ("img",)
) -> dict[str, Any]:
    """Return what ``run`` with these flags sends."""
    parsed = parse(["run", *flags, *image], environ or {})
    return container_body(parsed.flags, parsed.args, environ or {})[0]


def message(call: Callable[[], object]) -> str:
    """Return the first paragraph of the UsageError that ``call`` raises, or the text of its ValueError."""
    with pytest.raises((UsageError, ValueError)) as caught:
        call()
    return str(caught.value).partition("\n\n")[0].removeprefix("sampan: ")


def reason(row: dict[str, Any], flag: str, value: str) -> str:
    """Return why a value of ``flag`` is refused at once, the naming of the flag cut off."""
    text = message(lambda: body(f"{flag}={value}"))
    start = 'invalid argument "'
    return text.partition(" flag: ")[2] if text.startswith(start) else text


def compare(row: dict[str, Any], call: Callable[[], str]) -> None:
    """Compare the refusal of ``call`` with the error that the row expects."""
    said = call()
    if isinstance(row.get("error"), str):
        assert said == row["error"]
    if "error_contains" in row:
        assert row["error_contains"] in said


def refused(row: dict[str, Any]) -> bool:
    return "error" in row or "error_contains" in row or row.get("valid") is False


FIELDS = {
    "add_host": ("--add-host", "ExtraHosts"),
    "ip": ("--dns", "Dns"),
    "dns_search": ("--dns-search", "DnsSearch"),
}


@pytest.mark.parametrize(
    ("name", "row"), [(name, row) for name in FIELDS for row in table(f"run/{name}")], ids=str
)
def test_addresses(name: str, row: dict[str, Any]) -> None:
    flag, field = FIELDS[name]
    if refused(row):
        compare(row, lambda: reason(row, flag, row["input"]))
    else:
        sent = body(f"{flag}={row['input']}")["HostConfig"][field]
        assert len(sent) == 1
        if "output" in row:
            assert sent == [row["output"]]


@pytest.mark.parametrize("row", table("run/attach"), ids=str)
def test_attach(row: dict[str, Any]) -> None:
    sent = body(*row["flags"])
    assert [sent["AttachStdin"], sent["AttachStdout"], sent["AttachStderr"]] == [
        row["stdin"],
        row["stdout"],
        row["stderr"],
    ]


@pytest.mark.parametrize("row", table("run/bad_args"), ids=str)
def test_bad_arguments(row: dict[str, Any]) -> None:
    compare(row, lambda: message(lambda: body(*row["args"], image=())))


BLOCK = {
    "bps": ("--device-read-bps", "BlkioDeviceReadBps", "Rate"),
    "iops": ("--device-write-iops", "BlkioDeviceWriteIOps", "Rate"),
    "weight": ("--blkio-weight-device", "BlkioWeightDevice", "Weight"),
}


@pytest.mark.parametrize("row", table("run/blkio"), ids=str)
def test_limits_of_block_devices(row: dict[str, Any]) -> None:
    flag, field, key = BLOCK[row["kind"]]
    if refused(row):
        compare(row, lambda: reason(row, flag, row["input"]))
    else:
        assert body(flag, row["input"])["HostConfig"][field] == [{"Path": row["path"], key: row["value"]}]


@pytest.mark.parametrize("row", table("run/capability"), ids=str)
def test_capability_names(row: dict[str, Any]) -> None:
    assert normal_capability(row["input"]) == row["output"]


@pytest.mark.parametrize("row", table("run/capabilities"), ids=str)
def test_capabilities_taken_together(row: dict[str, Any]) -> None:
    assert effective_capabilities(row["add"], row["drop"]) == (row["effective_add"], row["effective_drop"])


@pytest.mark.parametrize("row", table("run/device"), ids=str)
def test_devices(row: dict[str, Any]) -> None:
    host = body(*(f"--device={device}" for device in row["devices"]))["HostConfig"]
    assert host["Devices"] == [
        {"PathOnHost": m["host"], "PathInContainer": m["container"], "CgroupPermissions": m["permissions"]}
        for m in row["mappings"]
    ]
    assert host.get("DeviceRequests", []) == row["requests"]


@pytest.mark.parametrize("row", table("run/device_check"), ids=str)
def test_device_paths(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: message(lambda: parse_device(row["input"])))
    else:
        assert parse_device(row["input"])


def test_a_device_path_is_cleaned() -> None:
    assert parse_device("/dev//sda/../sdb") == {
        "PathOnHost": "/dev/sdb",
        "PathInContainer": "/dev/sdb",
        "CgroupPermissions": "rwm",
    }


@pytest.mark.parametrize("row", table("run/duration"), ids=str)
def test_durations(row: dict[str, Any]) -> None:
    flag = f"--health-interval={row['input']}"
    if row["positive_only"]:
        assert message(lambda: body(flag)) == "--health-interval cannot be negative"
    elif row["seconds"] >= 0:
        assert body(flag)["Healthcheck"]["Interval"] == row["seconds"] * 10**9
    else:
        assert parse(["run", flag, "img"], {}).flags["health-interval"] == row["seconds"] * 10**9


@pytest.mark.parametrize("row", table("run/env"), ids=str)
def test_environment(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: reason(row, "--env", row["input"]))
    else:
        assert body("-e", row["input"], environ={"PATH": "/bin"})["Env"] == [row["output"]]


def test_a_name_alone_takes_the_clients_value() -> None:
    assert body("-e", "PATH", "-eHOME", environ={"PATH": "/bin"})["Env"] == ["PATH=/bin", "HOME"]


@pytest.mark.parametrize("row", table("run/env_file"), ids=str)
def test_environment_files(row: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(row["content"], encoding="utf-8", newline="")
    if refused(row):
        compare(row, lambda: message(lambda: body("--env-file", str(file), environ=row["environ"])))
    else:
        assert body("--env-file", str(file), environ=row["environ"])["Env"] == row["entries"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"A B=c\n", "variable 'A B' contains whitespaces"),
        (b"a=1\n\xff\xfe\n", "invalid utf8 bytes at line 2: [255 254]"),
        (b"a=" + b"x" * 70000, "bufio.Scanner: token too long"),
    ],
)
def test_a_broken_environment_file_is_refused(content: bytes, error: str) -> None:
    assert message(lambda: parse_lines(content, {})) == error


def test_the_last_of_several_values_counts() -> None:
    assert body("-eA=1", "-eB=2", "-eA=3")["Env"] == ["A=3", "B=2"]


def test_options_of_windows_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        body("--cpu-count=1", "--io-maxiops=2")
    where = (
        "is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux"
    )
    assert str(caught.value) == f'"--cpu-count" {where}\n"--io-maxiops" {where}'
    assert caught.value.status == 1


def test_flags_come_after_files(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=file\nB=file\n")
    (tmp_path / "labels").write_text("a=file\nb\n# none\n")
    sent = body("-eA=flag", f"--env-file={tmp_path}/env", "-la=flag", f"--label-file={tmp_path}/labels")
    assert sent["Env"] == ["A=file", "B=file", "A=flag"]
    assert sent["Labels"] == {"a": "flag"}


@pytest.mark.parametrize("row", table("run/expose"), ids=str)
def test_exposed_ports(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: message(lambda: body(*row["flags"])))
    else:
        assert sorted(body(*row["flags"])["ExposedPorts"]) == sorted(row["ports"])


@pytest.mark.parametrize("row", table("run/gpus"), ids=str)
def test_gpus(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: reason(row, "--gpus", row["input"]))
    else:
        assert body("--gpus", row["input"])["HostConfig"]["DeviceRequests"] == [row["device"]]


@pytest.mark.parametrize("row", table("run/health"), ids=str)
def test_health_checks(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: message(lambda: body(*row["flags"])))
        return
    check = body(*row["flags"])["Healthcheck"]
    assert check.get("Test", []) == row.get("test", [])
    for key, field in (
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start_period", "StartPeriod"),
        ("start_interval", "StartInterval"),
    ):
        if key in row:
            assert check.get(field, 0) == int(row[key] * 10**9)
    if "retries" in row:
        assert check["Retries"] == row["retries"]


@pytest.mark.parametrize("row", table("run/hostname"), ids=str)
def test_host_names(row: dict[str, Any]) -> None:
    sent = body(*row["flags"])
    assert sent["Hostname"] == row.get("hostname", "")
    assert sent["Domainname"] == row.get("domainname", "")


@pytest.mark.parametrize("row", table("run/label"), ids=str)
def test_labels(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: reason(row, "--label", row["input"]))
    else:
        key, _, value = row["output"].partition("=")
        assert body("--label", row["input"])["Labels"] == {key: value}


@pytest.mark.parametrize("row", table("run/link"), ids=str)
def test_links(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: reason(row, "--link", row["input"]))
    else:
        assert body("--link", row["input"])["HostConfig"]["Links"] == [row["input"]]
        if "name" in row:
            assert split_link(row["input"]) == (row["name"], row["alias"])


def test_a_link_in_the_engines_own_form() -> None:
    assert split_link("/foo:/c1/bar") == ("foo", "bar")


@pytest.mark.parametrize("row", table("run/log_opt"), ids=str)
def test_log_options(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: message(lambda: body(*row["flags"])))
    else:
        sent = body(*row["flags"])["HostConfig"]["LogConfig"]
        assert sent == {"Type": row["driver"], "Config": row["options"]}


@pytest.mark.parametrize("row", table("run/mount"), ids=str)
def test_mounts(row: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if "cwd" in row:
        monkeypatch.setattr("os.getcwd", lambda: row["cwd"])
    if refused(row):
        compare(row, lambda: reason(row, "--mount", row["input"]))
    else:
        assert parse_mount(row["input"]) == row["mount"]
        assert body("--mount", row["input"])["HostConfig"]["Mounts"] == [row["mount"]]


@pytest.mark.parametrize("row", table("run/network"), ids=str)
def test_networks(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: reason(row, "--network", row["input"]))
    else:
        assert [parse_network(row["input"])] == [
            {"name" if key == "network" else key: value for key, value in attachment.items()}
            for attachment in row["attachments"]
        ]


@pytest.mark.parametrize("row", table("run/network_flags"), ids=str)
def test_network_flags(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: message(lambda: body(*row["flags"])))
        return
    sent = body(*row["flags"])
    found = sent["NetworkingConfig"]["EndpointsConfig"]
    if "mode" in row:
        assert sent["HostConfig"]["NetworkMode"] == row["mode"]
    if "endpoints" in row:
        assert found == row["endpoints"]
    if "links" in row:
        assert sent["HostConfig"].get("Links", []) == row["links"]
    if "endpoint_links" in row:
        assert {name: endpoint.get("Links", []) for name, endpoint in found.items()} == row["endpoint_links"]


@pytest.mark.parametrize("row", table("run/port_number"), ids=str)
def test_port_numbers(row: dict[str, Any]) -> None:
    if "error" in row:
        assert message(lambda: parse_port(row["input"])) == row["error"]
    elif "reason" in row:
        assert message(lambda: port_number(row["input"])) == row["reason"]
    elif "port" in row:
        assert parse_port(row["input"]) == row["port"]
    else:
        assert port_number(row["input"]) == row["number"]


@pytest.mark.parametrize("row", table("run/port_proto"), ids=str)
def test_port_and_protocol(row: dict[str, Any]) -> None:
    assert split_protocol(row["input"]) == (row["port"], row["proto"])


@pytest.mark.parametrize("row", table("run/port_range"), ids=str)
def test_port_ranges(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: message(lambda: parse_range(row["input"])))
    else:
        assert parse_range(row["input"]) == (row["first"], row["last"])


@pytest.mark.parametrize("row", table("run/publish"), ids=str)
def test_published_ports(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: message(lambda: body("-p", row["spec"])))
        return
    wanted = [(b["port"], b["host_ip"], b["host_port"]) for b in row["bindings"]]
    assert parse_publish(row["spec"]) == wanted
    sent = body("-p", row["spec"])
    assert list(sent["ExposedPorts"]) == [port for port, _, _ in wanted]
    assert sent["HostConfig"]["PortBindings"] == {
        port: [{"HostIp": host_ip, "HostPort": host_port}] for port, host_ip, host_port in wanted
    }


@pytest.mark.parametrize("row", table("run/publish_text"), ids=str)
def test_published_ports_as_text(row: dict[str, Any]) -> None:
    assert [render_publish(mapping) for mapping in parse_publish(row["spec"])] == [row["text"]]


@pytest.mark.parametrize("row", table("run/publish_long"), ids=str)
def test_the_long_form_of_published_ports(row: dict[str, Any]) -> None:
    if refused(row):
        assert message(lambda: body(*(f"-p{value}" for value in row["input"])))
    else:
        assert [short_form(value) for value in row["input"]] == row["output"]


@pytest.mark.parametrize("row", table("service/publish"), ids=str)
def test_ports_of_a_service(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: message(lambda: parse_service_port(row["input"])))
        return
    names = {
        "protocol": "Protocol",
        "target": "TargetPort",
        "published": "PublishedPort",
        "mode": "PublishMode",
    }
    assert parse_service_port(row["input"]) == [
        {names[key]: value for key, value in port.items()} for port in row["ports"]
    ]


SIZES = {
    "memory": ("--memory", "Memory"),
    "swap": ("--memory-swap", "MemorySwap"),
    "shm": ("--shm-size", "ShmSize"),
    "cpus": ("--cpus", "NanoCpus"),
}


@pytest.mark.parametrize("row", table("run/resources"), ids=str)
def test_resources(row: dict[str, Any]) -> None:
    flag, field = SIZES[row["kind"]]
    if refused(row):
        assert message(lambda: body(flag, row["input"]))
    elif "input" in row:
        assert body(flag, row["input"])["HostConfig"][field] == row["value"]
    if "text" in row:
        assert render_cpus(row["value"]) == row["text"]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("x", "failed to parse x as a rational number"),
        ("1/0", "failed to parse 1/0 as a rational number"),
        ("0.0000000001", "value is too precise"),
        ("3/2", 1_500_000_000),
        ("1e-1", 100_000_000),
        (".5", 500_000_000),
    ],
)
def test_cpus_are_rational_numbers(text: str, result: str | int) -> None:
    if isinstance(result, str):
        assert reason({}, "--cpus", text) == result
    else:
        assert body("--cpus", text)["HostConfig"]["NanoCpus"] == result


@pytest.mark.parametrize("row", table("run/restart"), ids=str)
def test_restart_policies(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: message(lambda: body(f"--restart={row['input']}")))
    else:
        wanted = {"Name": row["name"], "MaximumRetryCount": row["max_retries"]}
        assert parse_restart_policy(row["input"]) == wanted
        assert body(f"--restart={row['input']}")["HostConfig"]["RestartPolicy"] == wanted


@pytest.mark.parametrize("row", table("run/security_opt_paths"), ids=str)
def test_system_paths(row: dict[str, Any]) -> None:
    assert system_paths(row["input"]) == (row["output"], row["masked"], row["readonly"])


def test_a_seccomp_profile_is_read_and_sent(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{\n  "defaultAction": "SCMP_ACT_ALLOW"\n}\n')
    host = body("--security-opt", f"seccomp={file}", "--security-opt=no-new-privileges")["HostConfig"]
    assert host["SecurityOpt"] == ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}', "no-new-privileges"]
    assert message(lambda: body("--security-opt=seccomp=/nowhere")) == (
        "opening seccomp profile (/nowhere) failed: open /nowhere: no such file or directory"
    )
    assert message(lambda: body("--security-opt=apparmor")) == 'invalid --security-opt: "apparmor"'


@pytest.mark.parametrize("row", table("run/ulimit"), ids=str)
def test_ulimits(row: dict[str, Any]) -> None:
    if refused(row):
        compare(row, lambda: reason(row, "--ulimit", row["input"]))
    else:
        assert body("--ulimit", row["input"])["HostConfig"]["Ulimits"] == [
            {"Name": row["name"], "Soft": row["soft"], "Hard": row["hard"]}
        ]


def test_a_later_ulimit_replaces_an_earlier_one() -> None:
    sent = body("--ulimit=nofile=1", "--ulimit=cpu=2", "--ulimit=nofile=3")["HostConfig"]["Ulimits"]
    assert [(limit["Name"], limit["Soft"]) for limit in sent] == [("cpu", 2), ("nofile", 3)]


@pytest.mark.parametrize("row", table("run/volume_flags"), ids=str)
def test_volumes(row: dict[str, Any]) -> None:
    sent = body(*(f"--volume={volume}" for volume in row["volumes"]))
    assert sorted(sent["HostConfig"]["Binds"] or []) == sorted(row["binds"])
    assert sorted(sent["Volumes"]) == sorted(row["anonymous"])


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("", "invalid empty volume spec"),
        ("/a::/b", "invalid spec: /a::/b: empty section between colons"),
        ("/a:/b:ro:x", "invalid spec: /a:/b:ro:x: too many colons"),
    ],
)
def test_a_bad_volume_is_refused(spec: str, error: str) -> None:
    assert message(lambda: body(f"-v{spec}") if spec else body("--volume=")) == error


def test_a_relative_bind_is_made_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getcwd", lambda: "/srv/app")
    assert body("-v", "./data:/data:ro")["HostConfig"]["Binds"] == ["/srv/app/data:/data:ro"]


def test_what_is_sent_without_any_flag() -> None:
    assert body(image=("alpine", "echo", "-n")) == {
        "Hostname": "",
        "Domainname": "",
        "User": "",
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": [],
        "Cmd": ["echo", "-n"],
        "Image": "alpine",
        "Volumes": {},
        "WorkingDir": "",
        "Entrypoint": None,
        "Labels": {},
        "HostConfig": {
            "Binds": None,
            "PortBindings": {},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "LogConfig": {"Type": "", "Config": {}},
            "Dns": [],
            "DnsOptions": [],
            "DnsSearch": [],
            "NetworkMode": "default",
        },
        "NetworkingConfig": {"EndpointsConfig": {"default": {}}},
    }


def test_many_flags_at_once() -> None:
    sent = body(
        *(
            "-it",
            "--rm",
            "--init",
            "--entrypoint=",
            "-w/srv",
            "-u1:2",
            "--stop-timeout=0",
            "--stop-signal=INT",
        ),
        *("--tmpfs=/run:size=1m", "--read-only", "--cap-add=net_admin", "--privileged", "--pids-limit=-1"),
        *("--oom-score-adj=-5", "--cgroup-parent=/x", "--ipc=host", "--pid=container:a", "--sysctl=net.a=1"),
        *("--storage-opt=size=1G", "--group-add=9", "--annotation=a=b", "--memory-swappiness=0", "-P"),
    )
    host = sent["HostConfig"]
    assert (sent["Tty"], sent["OpenStdin"], sent["StdinOnce"]) == (True, True, True)
    assert (sent["Entrypoint"], sent["WorkingDir"], sent["User"]) == ([""], "/srv", "1:2")
    assert (sent["StopTimeout"], sent["StopSignal"]) == (0, "INT")
    assert host["Tmpfs"] == {"/run": "size=1m"}
    assert (host["AutoRemove"], host["Init"], host["ReadonlyRootfs"], host["Privileged"]) == (True,) * 4
    assert (host["CapAdd"], host["PidsLimit"], host["OomScoreAdj"]) == (["CAP_NET_ADMIN"], -1, -5)
    assert (host["CgroupParent"], host["IpcMode"], host["PidMode"]) == ("/x", "host", "container:a")
    assert (host["Sysctls"], host["StorageOpt"], host["GroupAdd"]) == ({"net.a": "1"}, {"size": "1G"}, ["9"])
    assert (host["Annotations"], host["MemorySwappiness"], host["PublishAllPorts"]) == ({"a": "b"}, 0, True)


def test_name_and_platform_are_apart() -> None:
    parsed = parse(["create", "--name", "web", "img"], {"DOCKER_DEFAULT_PLATFORM": "linux/arm64"})
    assert container_body(parsed.flags, parsed.args, {})[1:] == ("web", "linux/arm64")


def test_detached_containers_are_not_attached() -> None:
    sent = body("-dit")
    assert not any((sent["AttachStdin"], sent["AttachStdout"], sent["AttachStderr"], sent["StdinOnce"]))


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--rm", "--restart=always"], "conflicting options: cannot specify both --restart and --rm"),
        (["--pull=often"], 'invalid pull option: \'often\': must be one of "always", "missing" or "never"'),
        (["--memory-swappiness=101"], "invalid value: 101. Valid memory swappiness range is 0-100"),
        (["--userns=x"], "--userns: invalid USER mode"),
        (["--cgroupns=x"], "--cgroupns: invalid CGROUP mode"),
        (["--mac-address=x"], "x is not a valid mac address"),
        (["--storage-opt=x"], "invalid storage option"),
        (["--network=a", "--network=a"], 'network "a" is specified multiple times'),
        (["--network-alias=x"], "network-scoped aliases are only supported for user-defined networks"),
        (["--use-api-socket"], "--use-api-socket is not supported"),
    ],
)
def test_options_that_do_not_fit(flags: list[str], error: str) -> None:
    with pytest.raises(UsageError) as caught:
        body(*flags)
    assert str(caught.value) == f"sampan: {error}\n\nRun 'sampan run --help' for more information"
    assert caught.value.status == 125


@pytest.mark.parametrize(
    ("flag", "value", "error"),
    [
        ("--device-cgroup-rule", "x", "invalid device cgroup format 'x'"),
        ("--sysctl", "kernel.hostname=x", "sysctl 'kernel.hostname=x' is not allowed"),
        ("--ip", "x", 'failed to parse IP: "x"'),
        ("--network", "name=n,ip=x", 'ParseAddr("x"): unable to parse IP'),
        ("--network", "name=n,driver-opt=x", "invalid key value pair format in driver options"),
        ("--mount", 'type="bind', 'parse error on line 1, column 6: bare " in non-quoted-field'),
        (
            "--mount",
            '"type=bind',
            'parse error on line 1, column 11: extraneous or missing " in quoted-field',
        ),
        ("--gpus", "", "EOF"),
    ],
)
def test_values_refused_at_once(flag: str, value: str, error: str) -> None:
    assert reason({}, flag, value) == error
