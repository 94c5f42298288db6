import pytest

from sampan.kernel.mount import Mount, escape_overlay, is_mount_point, mounts, parse_mountinfo, split_overlay


def test_a_line_of_mountinfo() -> None:
    line = (
        rb"36 35 98:0 /mnt1 /mnt\0402\134x rw,noatime master:1 shared:2 - ext3 /dev/my\011root rw,errors=no"
    )
    found = parse_mountinfo(line)
    assert (found.id, found.parent, found.device, found.root) == (36, 35, (98, 0), "/mnt1")
    assert found.target == "/mnt 2\\x"
    assert found.propagation == ("master:1", "shared:2")
    assert (found.type, found.source, found.super_options) == ("ext3", "/dev/my\troot", "rw,errors=no")


@pytest.mark.parametrize("line", [b"", b"36 35 98:0 / / rw", b"x y z"])
def test_a_line_that_is_none(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever kind
        parse_mountinfo(line)


def test_our_own_table() -> None:
    assert any(m.target == "/" for m in mounts())
    assert is_mount_point("/")
    assert is_mount_point("/proc")
    assert not is_mount_point("/proc/self")
    assert not is_mount_point("/nowhere/at/all")
    assert not is_mount_point("/proc/version/below")


def test_a_mount_reads_as_a_command() -> None:
    assert str(Mount("tmpfs", "tmpfs", "/x", ("size=4m", "ro"))) == "mount -t tmpfs -o size=4m,ro tmpfs /x"
    assert str(Mount("", "/a", "/b")) == "mount -t none /a /b"


@pytest.mark.parametrize(
    "paths", [["/a"], ["/a", "/b"], ["/with:colon", "/with,comma", "/back\\slash", "/all\\:,"]]
)
def test_paths_of_layers_survive_their_escapes(paths: list[str]) -> None:
    assert split_overlay(":".join(map(escape_overlay, paths))) == paths
