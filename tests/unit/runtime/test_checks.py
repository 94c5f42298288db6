"""Create-time checks in Docker's words."""

from typing import Any

import pytest
from support.facts import facts
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.runtime import checks
from sampan.runtime.checks import check_host_config
from sampan.wire.containers import (
    ContainerConfig,
    DeviceMapping,
    DeviceRequest,
    HealthConfig,
    HostConfig,
    PortBinding,
    Ulimit,
)


@pytest.fixture(autouse=True)
def _forwarding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "ipv4_forwarding", lambda: True)


@pytest.mark.parametrize("row", table("engine/isolation"), ids=lambda row: row["isolation"])
def test_isolation(row: dict[str, Any]) -> None:
    host = HostConfig(isolation=row["isolation"])
    if row.get("valid"):
        check_host_config(ContainerConfig(), host, facts())
    else:
        with pytest.raises(InvalidParameter) as caught:
            check_host_config(ContainerConfig(), host, facts())
        assert row["error_contains"] in str(caught.value)


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"io_maximum_bandwidth": 1},
        "invalid option: QoS maximum bandwidth configuration is not supported on linux",
    ),
    ({"io_maximum_iops": 1}, "invalid option: QoS maximum IOPs configuration is not supported on linux"),
    ({"cap_add": ["nope"]}, 'invalid CapAdd: unknown capability: "CAP_NOPE"'),
    ({"cap_drop": ["nope"]}, 'invalid CapDrop: unknown capability: "CAP_NOPE"'),
    ({"ipc_mode": "x"}, "invalid IPC mode: x"),
    ({"pid_mode": "container:"}, "invalid PID mode: container:"),
    ({"uts_mode": "private"}, "invalid UTS mode: private"),
    ({"cgroupns_mode": "x"}, "invalid cgroup namespace mode: x"),
    ({"userns_mode": "x"}, "invalid USER mode: x"),
    ({"shm_size": -1}, "SHM size can not be less than 0"),
    ({"oom_score_adj": 1001}, "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
    (
        {"annotations": {"": "x"}},
        "invalid Annotations: the empty string is not permitted as an annotation key",
    ),
    ({"ulimits": [Ulimit("x", 1, 1)]}, "invalid ulimit type: x"),
    ({"sysctls": {"vm.x": "1"}}, 'sysctl "vm.x" is not in a separate kernel namespace'),
    ({"device_cgroup_rules": ["c 1:1"]}, "invalid device cgroup rule format: 'c 1:1'"),
    ({"devices": [DeviceMapping("/dev/a", "/dev/a", "z")]}, "invalid device cgroup permissions: 'z'"),
    (
        {"device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])]},
        'could not select device driver "" with capabilities: [[gpu]]',
    ),
    ({"security_opt": ["x"]}, 'invalid --security-opt 1: "x"'),
    ({"security_opt": ["seccomp=x"]}, "Decoding seccomp profile failed: "),
    ({"memory": 1}, "Minimum memory limit allowed is 6MB"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_host_config(ContainerConfig(), HostConfig(**fields), facts())
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            ContainerConfig(working_dir="rel"),
            "the working directory 'rel' is invalid, it needs to be an absolute path",
        ),
        (ContainerConfig(hostname="h" * 65), f'hostname "{"h" * 65}" is too long (maximum 64 bytes)'),
        (
            ContainerConfig(healthcheck=HealthConfig(interval=1)),
            "Interval in Healthcheck cannot be less than 1ms",
        ),
        (ContainerConfig(healthcheck=HealthConfig(retries=-1)), "Retries in Healthcheck cannot be negative"),
    ],
)
def test_refused_config(config: ContainerConfig, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_host_config(config, HostConfig(), facts())
    assert str(caught.value) == message


def test_hostname_beside_the_hosts() -> None:
    host = HostConfig(uts_mode="host")
    with pytest.raises(InvalidParameter, match="conflicting options: hostname and the UTS mode"):
        check_host_config(ContainerConfig(hostname="x"), host, facts())
    check_host_config(ContainerConfig(hostname="x"), host, facts(), update=True)


def test_working_directory_is_cleaned() -> None:
    config = ContainerConfig(working_dir="/a/../b/")
    check_host_config(config, HostConfig(), facts())
    assert config.working_dir == "/b"


def test_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    host = HostConfig(
        network_mode="host",
        port_bindings={"80/tcp": [PortBinding(host_port="80")]},
        cgroupns_mode="private",
        oom_kill_disable=True,
    )
    assert check_host_config(ContainerConfig(), host, facts(cgroup_namespaces=False)) == [
        "OOM killer is disabled for the container, but no memory limit is set, "
        "this can result in the system running out of resources.",
        "Published ports are discarded when using host network mode",
        "Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded.",
    ]
    assert host.cgroupns_mode == "host"
    monkeypatch.setattr(checks, "ipv4_forwarding", lambda: False)
    assert check_host_config(ContainerConfig(), HostConfig(), facts()) == [
        "IPv4 forwarding is disabled. Networking will not work."
    ]
    assert check_host_config(ContainerConfig(), HostConfig(network_mode="none"), facts()) == []


def test_custom_profile_without_seccomp() -> None:
    host = HostConfig(security_opt=['seccomp={"defaultAction": "SCMP_ACT_ALLOW"}'])
    check_host_config(ContainerConfig(), host, facts())
    with pytest.raises(InvalidParameter, match="seccomp is not enabled in your kernel"):
        check_host_config(ContainerConfig(), host, facts(seccomp=False))
