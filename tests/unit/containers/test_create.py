"""What a create or an update request makes of a container's configuration."""

from sampan.containers.create import Defaults, fill_host_config, update_host_config
from sampan.wire.containers import HostConfig, UpdateContainer


def test_an_update_changes_limits_and_nothing_else() -> None:
    before = HostConfig(memory=1 << 30, binds=["/a:/b"], pids_limit=5)
    asked = UpdateContainer(cpu_shares=7, memory=2 << 30, privileged=True, binds=["/:/host"], pid_mode="host")
    after = update_host_config(before, asked)
    assert (after.cpu_shares, after.memory, after.pids_limit) == (7, 2 << 30, 5)
    assert (after.privileged, after.binds, after.pid_mode) == (False, ["/a:/b"], "")


def test_swap_is_twice_the_memory_as_far_as_numbers_go() -> None:
    assert fill_host_config(HostConfig(memory=1 << 30), Defaults()).memory_swap == 2 << 30
    assert fill_host_config(HostConfig(memory=(1 << 63) - 1), Defaults()).memory_swap == (1 << 63) - 1
