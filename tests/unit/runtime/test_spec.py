"""Whole specs, and the processes of exec, as runtimes get them."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from support.facts import facts
from support.shared import shared

from sampan.base.errors import InvalidParameter
from sampan.kernel import seccomp
from sampan.oci.spec import OciMount
from sampan.runtime.capabilities import DEFAULT
from sampan.runtime.spec import ExecRequest, SpecBuilder, SpecFailed, SpecRequest
from sampan.wire.containers import ContainerConfig, DeviceMapping, ExecConfig, HostConfig, Ulimit

needs_libseccomp = pytest.mark.skipif(not seccomp.available(), reason="libseccomp.so.2 is not installed")
BPF = "run.oci.seccomp_bpf_data"


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nweb:x:33:\nlogs:x:4:web\n")
    return tmp_path


def build(rootfs: Path, builder: SpecBuilder | None = None, **changes: Any) -> dict[str, Any]:
    config = changes.pop("config", ContainerConfig())
    fields: dict[str, Any] = {
        "id": "c1",
        "name": "web",
        "config": config,
        "host": HostConfig(),
        "args": ["sh"],
        "env": config.env or [],
        "rootfs": rootfs,
        "hostname": "box",
        "domainname": "",
        "netns": "/run/netns/c1",
        "ipcns": None,
        "pidns": None,
        "mounts": [],
        "cgroup_path": "/docker/c1",
        "init_path": None,
        "cgroupns": "host",
        "runtime": "runc",
        **changes,
    }
    document: dict[str, Any] = json.loads((builder or SpecBuilder(facts())).build(SpecRequest(**fields)))
    return document


def namespaces(document: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry.get("path", "") for entry in document["linux"]["namespaces"]}


def test_plain_container(rootfs: Path) -> None:
    known = json.loads(shared("data/seccomp/defaults.json").read_text())
    document = build(rootfs)
    assert document["ociVersion"] == "1.0.2"
    assert document["root"] == {"path": str(rootfs)}
    assert document["hostname"] == "box"
    assert document["process"] == {
        "args": ["sh"],
        "cwd": "/",
        "user": {"uid": 0, "gid": 0, "additionalGids": [0]},
        "env": [f"PATH={known['defaultPath']}", "HOSTNAME=box", "HOME=/root"],
        "capabilities": {name: list(DEFAULT) for name in ("bounding", "effective", "permitted")},
        "rlimits": [],
        "oomScoreAdj": 0,
    }
    linux = document["linux"]
    assert namespaces(document) == {
        "mount": "",
        "network": "/run/netns/c1",
        "uts": "",
        "pid": "",
        "ipc": "",
    }
    rules = [{"access": "rwm", **rule} for rule in known["deviceRules"]]
    assert linux["resources"] == {"devices": rules}
    assert linux["cgroupsPath"] == "/docker/c1"
    assert linux["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert linux["maskedPaths"][:3] == known["maskedPaths"][:3]
    assert linux["readonlyPaths"] == known["readonlyPaths"]
    assert "annotations" not in document


def test_user_groups_environment(rootfs: Path) -> None:
    config = ContainerConfig(user="web", env=["A=1", "HOME=/x"], working_dir="/srv", tty=True)
    host = HostConfig(group_add=["77"], console_size=[40, 120])
    process = build(rootfs, config=config, host=host)["process"]
    assert process["user"] == {"uid": 33, "gid": 33, "additionalGids": [33, 4, 77]}
    assert process["env"][1:] == ["HOSTNAME=box", "TERM=xterm", "A=1", "HOME=/x"]
    assert (process["cwd"], process["terminal"]) == ("/srv", True)
    assert process["consoleSize"] == {"height": 40, "width": 120}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"config": ContainerConfig(user="foo")},
            "unable to find user foo: no matching entries in passwd file",
        ),
        (
            {"host": HostConfig(group_add=["foo"])},
            "unable to find group foo: no matching entries in group file",
        ),
        (
            {"host": HostConfig(devices=[DeviceMapping("/dev/nope", "/dev/nope", "rwm")])},
            'error gathering device information while adding custom device "/dev/nope": '
            "no such file or directory",
        ),
    ],
)
def test_failures(rootfs: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecFailed) as caught:
        build(rootfs, **changes)
    assert str(caught.value) == message


def test_shared_namespaces(rootfs: Path) -> None:
    host = HostConfig(uts_mode="host", pid_mode="host", ipc_mode="host")
    document = build(rootfs, host=host, netns=None, domainname="dom")
    assert namespaces(document) == {"mount": ""}
    assert "hostname" not in document
    assert "sysctl" not in document["linux"]
    joined = HostConfig(pid_mode="container:x", ipc_mode="container:x")
    document = build(rootfs, host=joined, pidns="/proc/5/ns/pid", ipcns="/proc/5/ns/ipc", cgroupns="private")
    found = namespaces(document)
    assert (found["pid"], found["ipc"], found["cgroup"]) == ("/proc/5/ns/pid", "/proc/5/ns/ipc", "")


def test_domain(rootfs: Path) -> None:
    assert build(rootfs, domainname="dom")["linux"]["sysctl"]["kernel.domainname"] == "dom"


def test_privileged(rootfs: Path) -> None:
    document = build(rootfs, host=HostConfig(privileged=True))
    linux = document["linux"]
    assert "seccomp" not in linux
    assert "maskedPaths" not in linux
    assert "readonlyPaths" not in linux
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "/dev/null" in {device["path"] for device in linux["devices"]}
    assert len(document["process"]["capabilities"]["effective"]) == 41


def test_devices(rootfs: Path) -> None:
    host = HostConfig(devices=[DeviceMapping("/dev/null", "/dev/x", "r")], device_cgroup_rules=["c 5:* rw"])
    linux = build(rootfs, host=host)["linux"]
    assert [device["path"] for device in linux["devices"]] == ["/dev/x"]
    assert linux["resources"]["devices"][-2:] == [
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"},
        {"allow": True, "type": "c", "major": 5, "access": "rw"},
    ]


def test_paths_of_its_own(rootfs: Path) -> None:
    host = HostConfig(masked_paths=[], readonly_paths=["/proc/x"])
    linux = build(rootfs, host=host)["linux"]
    assert linux["maskedPaths"] == []
    assert linux["readonlyPaths"] == ["/proc/x"]


def test_options(rootfs: Path) -> None:
    host = HostConfig(
        readonly_rootfs=True,
        init=True,
        security_opt=["no-new-privileges"],
        oom_score_adj=-500,
        shm_size=1 << 20,
        ulimits=[Ulimit("nofile", hard=9, soft=8)],
        annotations={"a": "b"},
    )
    own = OciMount("/data", "bind", "/srv", ("rbind", "rprivate"))
    document = build(rootfs, host=host, init_path=Path("/usr/bin/tini-static"), mounts=[own])
    assert document["root"]["readonly"] is True
    assert document["process"]["args"] == ["/sbin/docker-init", "--", "sh"]
    assert document["process"]["noNewPrivileges"] is True
    assert document["process"]["oomScoreAdj"] == -500
    assert document["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 9, "soft": 8}]
    assert document["annotations"] == {"a": "b"}
    assert [mount["destination"] for mount in document["mounts"][-3:]] == [
        "/dev/shm",
        "/data",
        "/sbin/docker-init",
    ]
    assert document["mounts"][-3]["options"][-1] == "size=1048576"


def test_no_init_in_another_pid_namespace(rootfs: Path) -> None:
    assert build(rootfs, host=HostConfig(init=True, pid_mode="host"))["process"]["args"] == ["sh"]


def test_scores_below_the_daemons_are_raised(rootfs: Path) -> None:
    builder = SpecBuilder(facts(capabilities=frozenset(), oom_score_adj=-100))
    for wanted, got in ((-500, -100), (-50, -50), (0, 0)):
        host = HostConfig(oom_score_adj=wanted)
        assert build(rootfs, builder, host=host)["process"]["oomScoreAdj"] == got


@needs_libseccomp
def test_crun_gets_the_compiled_filter(rootfs: Path) -> None:
    builder = SpecBuilder(facts())
    document = build(rootfs, builder, runtime="crun", host=HostConfig(annotations={BPF: "mine", "a": "b"}))
    assert len(base64.b64decode(document["annotations"][BPF])) % 8 == 0
    assert document["annotations"]["a"] == "b"
    assert "seccomp" not in document["linux"]
    same = build(rootfs, builder, runtime="crun")
    assert same["annotations"][BPF] == document["annotations"][BPF]


@needs_libseccomp
def test_profiles(rootfs: Path) -> None:
    def filtered(builder: SpecBuilder, *options: str, privileged: bool = False) -> bool:
        host = HostConfig(security_opt=list(options), privileged=privileged)
        document = build(rootfs, builder, runtime="crun", host=host)
        return BPF in document.get("annotations", {})

    rule = '{"name": "mkdir", "action": "SCMP_ACT_ERRNO"}'
    custom = f'seccomp={{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}'
    plain = SpecBuilder(facts())
    assert filtered(plain)
    assert filtered(plain, "seccomp=builtin")
    assert not filtered(plain, "seccomp=unconfined")
    assert not filtered(plain, privileged=True)
    assert filtered(plain, custom, privileged=True)
    assert not filtered(SpecBuilder(facts(seccomp=False)))
    unconfined = SpecBuilder(facts(), default_seccomp="unconfined")
    assert not filtered(unconfined)
    assert filtered(unconfined, custom)


def test_daemons_defaults(rootfs: Path) -> None:
    builder = SpecBuilder(
        facts(),
        default_ulimits=[Ulimit("core", hard=0, soft=0)],
        default_shm_size=1 << 21,
        no_new_privileges=True,
    )
    document = build(rootfs, builder)
    assert document["process"]["rlimits"] == [{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}]
    assert document["process"]["noNewPrivileges"] is True
    assert document["mounts"][-1]["options"][-1] == f"size={1 << 21}"


def exec_process(
    rootfs: Path, wanted: ExecConfig, config: ContainerConfig, host: HostConfig
) -> dict[str, Any]:
    request = ExecRequest(wanted, config, host, rootfs)
    document: dict[str, Any] = json.loads(SpecBuilder(facts()).exec_process(request))
    return document


def test_exec_inherits(rootfs: Path) -> None:
    config = ContainerConfig(user="web", env=["A=1", "B=2"], working_dir="/srv", hostname="box", tty=True)
    process = exec_process(rootfs, ExecConfig(cmd=["ls"]), config, HostConfig(cap_drop=["ALL"]))
    assert process["args"] == ["ls"]
    assert process["cwd"] == "/srv"
    assert process["user"] == {"uid": 33, "gid": 33, "additionalGids": [33, 4]}
    assert process["env"][1:] == ["HOSTNAME=box", "A=1", "B=2", "HOME=/var/www"]
    assert "terminal" not in process
    assert process["capabilities"] == {"bounding": [], "effective": [], "permitted": []}


def test_exec_overrides(rootfs: Path) -> None:
    wanted = ExecConfig(
        cmd=["ls"],
        user="root",
        env=["A=9", "B", "HOME=/h"],
        working_dir="/tmp",
        tty=True,
        privileged=True,
        console_size=[10, 20],
    )
    config = ContainerConfig(user="web", env=["A=1", "B=2"], hostname="box")
    process = exec_process(rootfs, wanted, config, HostConfig())
    assert process["user"]["uid"] == 0
    assert process["cwd"] == "/tmp"
    assert process["env"][1:] == ["HOSTNAME=box", "TERM=xterm", "A=9", "HOME=/h"]
    assert process["consoleSize"] == {"height": 10, "width": 20}
    assert len(process["capabilities"]["effective"]) == 41


def test_exec_of_an_unknown_user(rootfs: Path) -> None:
    with pytest.raises(InvalidParameter, match="unable to find user x: no matching entries in passwd file"):
        exec_process(rootfs, ExecConfig(cmd=["ls"], user="x"), ContainerConfig(), HostConfig())
    with pytest.raises(InvalidParameter, match="unable to find user x"):
        SpecBuilder(facts()).check_user("x", rootfs)
