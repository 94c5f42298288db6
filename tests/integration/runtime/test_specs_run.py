"""Specs that real runtimes run: what a process inside finds."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.kernel.cgroup import Group, find_layout, remove_if_empty
from sampan.kernel.host import probe
from sampan.oci.spec import OciMount
from sampan.runtime.spec import ExecRequest, SpecBuilder, SpecRequest
from sampan.wire.containers import ContainerConfig, DeviceMapping, ExecConfig, HostConfig, Ulimit

pytestmark = pytest.mark.root
BUSYBOX = shutil.which("busybox")
PARENT = f"/sampan-spec-{os.getpid()}"
APPLETS = "sh ls cat id env mount umount grep true sleep hostname mknod unshare ps df dd touch tr stat"
FACTS = probe()
BUILDER = SpecBuilder(FACTS)
Run = Callable[..., str]


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system of busybox."""
    if BUSYBOX is None:
        pytest.skip("busybox is not installed")
    root = tmp_path_factory.mktemp("rootfs")
    root.chmod(0o755)
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "sbin", "data"):
        (root / name).mkdir()
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for applet in APPLETS.split():
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:root\nbin:x:1:root\nweb:x:33:\nlogs:x:4:web\n")
    return root


@pytest.fixture(params=["crun", "runc"])
def runtime(request: pytest.FixtureRequest) -> str:
    """Each runtime that is installed."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def command(runtime: str, *words: str) -> list[str]:
    """Return a command line that runs the runtime where it can stand the host's cgroups."""
    if FACTS.cgroup_hybrid_blocks_crun:
        return [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'umount /sys/fs/cgroup/unified; exec "$@"',
            "-",
            runtime,
            *words,
        ]
    return [runtime, *words]


@pytest.fixture
def run(rootfs: Path, runtime: str, tmp_path: Path) -> Iterator[Run]:
    """Run a command in a container and return its output; its cgroups are checked to be gone."""
    name = f"spec-{os.getpid()}"

    def call(
        *args: str, host: HostConfig | None = None, config: ContainerConfig | None = None, **changes: Any
    ) -> str:
        wanted = config or ContainerConfig()
        fields: dict[str, Any] = {
            "id": name,
            "name": "x",
            "config": wanted,
            "host": host or HostConfig(),
            "args": args,
            "env": wanted.env or [],
            "rootfs": rootfs,
            "hostname": "box",
            "domainname": "",
            "netns": "",
            "ipcns": None,
            "pidns": None,
            "mounts": [],
            "cgroup_path": f"{PARENT}/{name}",
            "init_path": None,
            "cgroupns": "host",
            "runtime": runtime,
            **changes,
        }
        (tmp_path / "config.json").write_bytes(BUILDER.build(SpecRequest(**fields)))
        done = subprocess.run(
            command(runtime, "run", "--bundle", str(tmp_path), name),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield call
    group = Group(find_layout(), f"{PARENT}/{name}")
    assert not group.procs()
    group.remove()
    assert remove_if_empty(find_layout(), PARENT)


def test_plain_container(run: Run) -> None:
    script = "id; env; hostname; cat /proc/self/status /proc/self/cgroup /proc/mounts; ls /dev; echo /dev/*"
    output = run("sh", "-c", script)
    for words in (
        "uid=0(root) gid=0(root) groups=0(root),1(bin)",
        "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "\nbox\n",
        "Seccomp:\t2",
        "NoNewPrivs:\t0",
        f"{PARENT}/spec-",
        "shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k",
        "sysfs /sys sysfs ro,",
        " /proc/sys ",
        "/dev/null",
        "/dev/urandom",
    ):
        assert words in output
    effective = int(output.partition("CapEff:\t")[2].split()[0], 16)
    assert effective == 0xA80425FB & sum(1 << number for number in FACTS.capabilities)


def test_filter(run: Run) -> None:
    assert run("sh", "-c", "unshare -U true || echo refused") == "refused\n"
    unconfined = HostConfig(security_opt=["seccomp=unconfined"])
    assert "Seccomp:\t0" in run("cat", "/proc/self/status", host=unconfined)
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    custom = HostConfig(security_opt=[f"seccomp={json.dumps(profile)}"])
    assert "No space left on device" in run("sh", "-c", "/bin/busybox mkdir /tmp/x 2>&1 || true", host=custom)


def test_user_and_privileges(run: Run) -> None:
    host = HostConfig(
        security_opt=["no-new-privileges"], group_add=["77"], cap_drop=["ALL"], cap_add=["CHOWN"]
    )
    output = run(
        "sh", "-c", "id; echo $HOME; cat /proc/self/status", host=host, config=ContainerConfig(user="web")
    )
    assert output.startswith("uid=33(web) gid=33(web) groups=4(logs),33(web),77\n/var/www\n")
    assert "NoNewPrivs:\t1" in output
    assert "CapEff:\t0000000000000000" in output
    assert "CapBnd:\t0000000000000001" in output


def test_nothing_granted(run: Run) -> None:
    output = run("cat", "/proc/self/status", host=HostConfig(cap_drop=["ALL"]))
    assert "CapEff:\t0000000000000000" in output
    assert "CapBnd:\t0000000000000000" in output


def test_privileged(run: Run) -> None:
    script = "cat /proc/self/status /proc/mounts; mount -t tmpfs x /tmp && echo mounted; ls /dev"
    output = run("sh", "-c", script, host=HostConfig(privileged=True))
    assert "Seccomp:\t0" in output
    assert "sysfs /sys sysfs rw," in output
    assert "mounted\n" in output
    assert "\nfuse\n" in output or not Path("/dev/fuse").exists()
    assert "/proc/kcore" not in output


def test_limits(run: Run) -> None:
    host = HostConfig(
        memory=64 << 20,
        memory_swap=96 << 20,
        nano_cpus=500_000_000,
        pids_limit=50,
        ulimits=[Ulimit("nofile", hard=300, soft=200)],
        oom_score_adj=500,
        shm_size=1 << 20,
    )
    files = (
        ("memory.max", "cpu.max", "pids.max")
        if FACTS.cgroup_version == 2
        else ("memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us", "pids/pids.max")
    )
    read = " ".join(f"/sys/fs/cgroup/{name}" for name in files)
    script = f"cat {read}; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; df /dev/shm"
    output = run("sh", "-c", script, host=host, cgroupns="private")
    lines = output.splitlines()
    assert lines[0] == str(64 << 20)
    assert lines[1].startswith("50000")
    assert lines[2:6] == ["50", "200", "300", "500"]
    assert lines[-1].split()[1] == "1024"


def test_device(run: Run) -> None:
    rules = ["c 1:7 r", "c 4:* rw", "b *:* m"]
    host = HostConfig(devices=[DeviceMapping("/dev/full", "/dev/mine", "r")], device_cgroup_rules=rules)
    assert run("stat", "-c", "%t:%T %a", "/dev/mine", host=host) == "1:7 666\n"


def test_namespaces_of_the_host(run: Run) -> None:
    host = HostConfig(uts_mode="host", pid_mode="host", ipc_mode="host")
    output = run("sh", "-c", "hostname; test $$ -gt 1 && echo pid; df /dev/shm", host=host)
    assert output.startswith(f"{os.uname().nodename}\npid\n")


def test_no_shared_memory(run: Run) -> None:
    assert run("sh", "-c", "ls -d /dev/shm || echo none", host=HostConfig(ipc_mode="none")) == "none\n"


def test_cgroup_namespace(run: Run) -> None:
    output = run("cat", "/proc/self/cgroup", cgroupns="private")
    assert PARENT not in output


def test_kernel_parameters(run: Run) -> None:
    host = HostConfig(sysctls={"kernel.msgmax": "9000", "net.ipv4.ip_forward": "1"})
    files = [
        "/proc/sys/kernel/msgmax",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/kernel/domainname",
        "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    ]
    assert run("cat", *files, host=host, domainname="example.org") == "9000\n1\nexample.org\n0\n"


def test_read_only_root(run: Run, tmp_path: Path) -> None:
    own = [
        OciMount("/tmp", "tmpfs", "tmpfs", ("noexec", "nosuid", "nodev", "size=1m")),
        OciMount("/data", "bind", str(tmp_path), ("rbind", "rprivate")),
    ]
    script = "touch /x 2>/dev/null || echo refused; touch /tmp/x /data/written /dev/shm/x && echo ok"
    assert run("sh", "-c", script, host=HostConfig(readonly_rootfs=True), mounts=own) == "refused\nok\n"
    assert (tmp_path / "written").exists()


def test_init(run: Run) -> None:
    lines = run("ps", "-o", "pid,args", host=HostConfig(init=True)).splitlines()
    assert lines[1].split() == ["1", "/sbin/docker-init", "--", "ps", "-o", "pid,args"]


def test_exec_is_confined_as_the_container(rootfs: Path, runtime: str, tmp_path: Path) -> None:
    name = f"exec-{os.getpid()}"
    config = ContainerConfig(hostname="box", env=["A=1"])
    request = SpecRequest(
        id=name,
        name="x",
        config=config,
        host=HostConfig(),
        args=["sleep", "600"],
        env=config.env or [],
        rootfs=rootfs,
        hostname="box",
        domainname="",
        netns="",
        ipcns=None,
        pidns=None,
        mounts=[],
        cgroup_path=f"{PARENT}/{name}",
        init_path=None,
        cgroupns="host",
        runtime=runtime,
    )
    (tmp_path / "config.json").write_bytes(BUILDER.build(request))
    wanted = ExecConfig(
        cmd=["sh", "-c", "id -u; echo $A $HOME; cat /proc/self/status"], user="web", env=["A=2"]
    )
    (tmp_path / "process.json").write_bytes(
        BUILDER.exec_process(ExecRequest(wanted, config, HostConfig(), rootfs))
    )
    group = Group(find_layout(), f"{PARENT}/{name}")
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "timeout": 60}
    try:
        subprocess.run(
            command(runtime, "run", "--detach", "--bundle", str(tmp_path), name), check=True, **quiet
        )  # type: ignore[call-overload]  # plain keywords
        assert len(group.procs()) == 1
        done = subprocess.run(
            command(runtime, "exec", "--process", str(tmp_path / "process.json"), name),
            capture_output=True,
            text=True,
            check=False,
            input="",  # not the host's null device: crun would give it to the user
            timeout=60,
        )
        assert done.stdout.startswith("33\n2 /var/www\n"), done.stderr
        assert "Seccomp:\t2" in done.stdout
    finally:
        group.remove()
        subprocess.run(command(runtime, "delete", "--force", name), check=False, **quiet)  # type: ignore[call-overload]  # plain keywords
        remove_if_empty(find_layout(), PARENT)
    assert not group.exists()
