"""Default mounts, and what replaces them."""

import json
from typing import Any

import pytest
from support.shared import shared

from sampan.base.errors import InvalidParameter
from sampan.kernel.mount import MountInfo
from sampan.oci.spec import OciMount
from sampan.runtime import mounts
from sampan.runtime.mounts import READONLY_PATHS, masked_paths, plan_mounts, root_propagation
from sampan.wire.containers import HostConfig

MIB = 1 << 20


def by_destination(host: HostConfig, *own: OciMount, **kwargs: Any) -> dict[str, OciMount]:
    planned = plan_mounts(host, own, shm_size=kwargs.pop("shm_size", 64 * MIB), **kwargs)
    found = {mount.destination: mount for mount in planned}
    assert len(found) == len(planned)
    return found


def test_defaults_are_dockers() -> None:
    known = json.loads(shared("data/seccomp/defaults.json").read_text())
    planned = plan_mounts(HostConfig(), (), shm_size=64 * MIB)
    ours = [[mount.destination, mount.type, list(mount.options)] for mount in planned]
    theirs = known["mounts"]
    theirs[-1][2][-1] = f"size={64 * MIB}"
    assert ours == theirs
    assert list(READONLY_PATHS) == known["readonlyPaths"]
    assert list(masked_paths())[: len(known["maskedPaths"])] == known["maskedPaths"]


def test_own_mounts_replace_defaults() -> None:
    own = OciMount("/dev", "bind", "/dev", ("rbind",))
    found = by_destination(HostConfig(), own)
    assert not [place for place in found if place.startswith("/dev/")]
    assert found["/dev"] is own
    shm = OciMount("/dev/shm", "tmpfs", "tmpfs", ("size=1m",))
    assert by_destination(HostConfig(), shm)["/dev/shm"] is shm


def test_shared_memory() -> None:
    assert by_destination(HostConfig(), shm_size=MIB)["/dev/shm"].options[-1] == f"size={MIB}"
    assert "/dev/shm" not in by_destination(HostConfig(ipc_mode="none"))
    assert by_destination(HostConfig(ipc_mode="host"))["/dev/shm"] == OciMount(
        "/dev/shm", "bind", "/dev/shm", ("rbind", "rprivate")
    )


def test_what_may_be_written() -> None:
    def writable(host: HostConfig, **kwargs: Any) -> set[str]:
        found = by_destination(host, **kwargs)
        return {place for place in ("/sys", "/sys/fs/cgroup") if "ro" not in found[place].options}

    assert writable(HostConfig()) == set()
    assert writable(HostConfig(privileged=True)) == {"/sys", "/sys/fs/cgroup"}
    assert writable(HostConfig(), writable_cgroups=True) == {"/sys/fs/cgroup"}
    assert writable(HostConfig(privileged=True), writable_cgroups=False) == {"/sys"}


def info(target: str, *propagation: str) -> MountInfo:
    return MountInfo(1, 0, (0, 0), "/", target, "rw", propagation, "ext4", "dev", "rw")


def bind(source: str, propagation: str) -> OciMount:
    return OciMount("/x", "bind", source, ("rbind", propagation))


def test_propagation(monkeypatch: pytest.MonkeyPatch) -> None:
    table = [info("/"), info("/shared", "shared:1"), info("/slave", "master:1")]
    monkeypatch.setattr(mounts, "mounts", lambda: table)
    assert root_propagation([bind("/plain", "rprivate")]) == ""
    assert root_propagation([bind("/shared/a", "rshared")]) == "shared"
    assert root_propagation([bind("/slave", "rslave"), bind("/plain", "rprivate")]) == "rslave"
    with pytest.raises(InvalidParameter) as caught:
        root_propagation([bind("/slave/x", "shared")])
    assert str(caught.value) == "path /slave/x is mounted on /slave but it is not a shared mount"
    with pytest.raises(InvalidParameter, match="path /plain is mounted on / but it is not a shared or slave"):
        root_propagation([bind("/plain", "slave")])
