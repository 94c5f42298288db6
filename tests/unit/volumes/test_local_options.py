"""The options of the local driver, and the mount that they ask for."""

import pytest

from sampan.base.errors import EngineError, InvalidParameter
from sampan.kernel.mount import Mount
from sampan.volumes.drivers.local import check_options, plan_mount
from sampan.volumes.names import check_name


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, ""),
        ({"type": "tmpfs", "device": "tmpfs"}, ""),
        ({"type": "none", "device": "/x", "o": "bind"}, ""),
        ({"type": "tmpfs"}, 'missing required option: "device"'),
        ({"device": "/x"}, 'missing required option: "type"'),
        ({"o": "bind"}, 'missing required option: "device"'),
        ({"Type": "tmpfs"}, 'invalid option: "Type"'),
        ({"size": "10m"}, "quota size requested but no quota support"),
    ],
)
def test_options_are_checked_as_docker_does(options: dict[str, str], error: str) -> None:
    if error:
        with pytest.raises(InvalidParameter) as caught:
            check_options(options)
        assert str(caught.value) == error
    else:
        check_options(options)


def test_mounts() -> None:
    assert plan_mount({"type": "tmpfs", "device": "tmpfs", "o": "size=1m,,uid=7"}, "/t") == Mount(
        "tmpfs", "tmpfs", "/t", ("size=1m", "uid=7")
    )
    assert plan_mount({"type": "none", "device": "/x", "o": "ro"}, "/t").options == ("bind", "ro")
    assert plan_mount({"type": "none", "device": "/x", "o": "rbind"}, "/t").options == ("rbind",)
    nfs = plan_mount({"type": "nfs", "device": ":/x", "o": "addr=127.0.0.1,rw"}, "/t")
    assert nfs.options == ("addr=127.0.0.1", "rw")
    with pytest.raises(EngineError, match="error resolving passed in network volume address: no host"):
        plan_mount({"type": "nfs", "device": ":/x", "o": "addr=no host"}, "/t")


@pytest.mark.parametrize("name", ["", "a", ".hidden", "-x", "a/b", "..", "a b", "ä1", "x" * 240])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^create {name}: "):
        check_name(name)
