"""Kernel parameters that a container may have for itself."""

import pytest

from sampan.base.errors import InvalidParameter
from sampan.runtime.sysctls import check_sysctls, plan_sysctls
from sampan.wire.containers import HostConfig


@pytest.mark.parametrize(
    "host",
    [
        HostConfig(sysctls={"net.core.somaxconn": "1", "net/ipv4/conf/eth0.1/forwarding": "1"}),
        HostConfig(sysctls={"kernel.msgmax": "1", "fs.mqueue.msg_max": "1"}),
        HostConfig(sysctls={"kernel.domainname": "x"}),
        HostConfig(sysctls={"kernel.shmmax": "1"}, network_mode="host"),
    ],
)
def test_allowed(host: HostConfig) -> None:
    check_sysctls(host)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            HostConfig(sysctls={"net.core.somaxconn": "1"}, network_mode="host"),
            'sysctl "net.core.somaxconn" not allowed in host network namespace',
        ),
        (
            HostConfig(sysctls={"kernel.sem": "1"}, ipc_mode="host"),
            'sysctl "kernel.sem" is not allowed in the hosts ipc namespace',
        ),
        (
            HostConfig(sysctls={"kernel.panic": "1"}),
            'sysctl "kernel.panic" is not in a separate kernel namespace',
        ),
        (
            HostConfig(sysctls={"vm/swappiness": "1"}),
            'sysctl "vm/swappiness" is not in a separate kernel namespace',
        ),
        (
            HostConfig(sysctls={"kernel.hostname": "x"}),
            'sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field',
        ),
        (
            HostConfig(sysctls={"kernel.domainname": "x"}, uts_mode="host"),
            'sysctl "kernel.domainname" is not allowed as it conflicts with the OCI "domainname" field',
        ),
    ],
)
def test_refused(host: HostConfig, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_sysctls(host)
    assert str(caught.value) == message


DEFAULTS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


def test_plan() -> None:
    assert plan_sysctls(HostConfig(), "", own_network=True) == DEFAULTS
    assert plan_sysctls(HostConfig(), "", own_network=False) == {}
    assert plan_sysctls(HostConfig(network_mode="container:x"), "", own_network=True) == {}
    own = HostConfig(sysctls={"net.ipv4.ping_group_range": "1 0"})
    assert plan_sysctls(own, "dom", own_network=True) == {
        **DEFAULTS,
        "net.ipv4.ping_group_range": "1 0",
        "kernel.domainname": "dom",
    }
    assert plan_sysctls(HostConfig(uts_mode="host"), "dom", own_network=False) == {}
