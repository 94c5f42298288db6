"""Device rules against moby's table, and devices found on this host."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.runtime.devices import check_access, find_devices, host_devices, parse_rule


@pytest.mark.parametrize("row", table("engine/device_rule"), ids=lambda row: repr(row["rule"]))
def test_rules(row: dict[str, Any]) -> None:
    if "error" in row:
        with pytest.raises(InvalidParameter) as caught:
            parse_rule(row["rule"])
        assert str(caught.value) == row["error"]
    else:
        assert msgspec.to_builtins(parse_rule(row["rule"])) == row["device"]


@pytest.mark.parametrize(
    ("rule", "what"), [("c 99999999999999999999:1 r", "major"), ("c 1:9223372036854775808 r", "minor")]
)
def test_numbers_too_large(rule: str, what: str) -> None:
    with pytest.raises(
        InvalidParameter, match=f"invalid {what} value in device cgroup rule format: '{rule}'"
    ):
        parse_rule(rule)


def test_one_device(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    for path in ("/dev/null", str(link)):
        (device,), (rule,) = find_devices(path, "/dev/xnull", "rw")
        assert (device.path, device.type, device.major, device.minor) == ("/dev/xnull", "c", 1, 3)
        assert device.file_mode == 0o666
        assert (rule.allow, rule.type, rule.major, rule.minor, rule.access) == (True, "c", 1, 3, "rw")


def test_a_directory_of_devices() -> None:
    devices, rules = find_devices("/dev/pts", "/dev/mine", "")
    assert len(devices) == len(rules)
    assert all(device.path.startswith("/dev/mine/") for device in devices)
    assert all(rule.access == "rwm" for rule in rules)


@pytest.mark.parametrize(
    ("path", "reason"), [("/dev/nope", "no such file or directory"), ("/etc/hostname", "not a device node")]
)
def test_no_device(path: str, reason: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        find_devices(path, path, "rwm")
    assert str(caught.value) == (
        f'error gathering device information while adding custom device "{path}": {reason}'
    )


def test_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="not a device node"):
        find_devices(str(tmp_path), "/dev/x", "rwm")


def test_host_devices() -> None:
    paths = {device.path for device in host_devices()}
    assert "/dev/null" in paths
    assert not any(path.startswith(("/dev/pts/", "/dev/shm/", "/dev/mqueue/")) for path in paths)
    assert "/dev/console" not in paths
    assert all(path.startswith("/dev/") for path in paths)


def test_access() -> None:
    check_access("")
    check_access("mrw")
    with pytest.raises(InvalidParameter, match="invalid device cgroup permissions: 'rx'"):
        check_access("rx")
