from sampan.kernel.mount import MountInfo
from sampan.kernel.mount_view import holders, plan_view


def table(*targets: str) -> list[MountInfo]:
    return [
        MountInfo(number, 1, (0, 1), "/", target, "rw", (), "tmpfs", "tmpfs", "rw")
        for number, target in enumerate(targets, 10)
    ]


HOST = table(
    *("/", "/proc", "/sys", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/dev", "/dev/pts", "/run"),
    *("/var", "/var/lib/sampan", "/var/lib/sampan/overlay/a/merged", "/run/sampan/netns/a"),
    *("/home", "/home/me", "/home/me/disk", "/homes"),
)
NEEDED = ("/run/sampan", "/var/lib/sampan")


def test_a_view_keeps_the_system_and_what_holds_the_needed() -> None:
    gone = ["/var/lib/sampan/overlay/a/merged", "/run/sampan/netns/a", "/home", "/homes"]
    assert plan_view(HOST, NEEDED) == gone
    assert plan_view(HOST, NEEDED, "/sys/fs/cgroup/unified") == ["/sys/fs/cgroup/unified", *gone]


def test_stacked_mounts_go_one_by_one() -> None:
    assert plan_view(table("/", "/mnt", "/mnt/a", "/mnt"), ("/srv",)) == ["/mnt", "/mnt"]


def test_holders_are_ancestors_by_whole_names() -> None:
    assert holders(HOST, NEEDED) == {"/": 10, "/run": 17, "/var": 18, "/var/lib/sampan": 19}
    assert holders(table("/", "/va", "/var/li"), ("/var/lib",)) == {"/": 10}
