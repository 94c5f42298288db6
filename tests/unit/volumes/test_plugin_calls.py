"""Finding volume plugins and speaking to them."""

import json
from pathlib import Path

import pytest
from support.fake_daemon import FakeDaemon
from support.plugin import VolumePlugin

from sampan.base.errors import InvalidParameter
from sampan.base.plugins import Address, Plugin, PluginFailed, PluginFolders, PluginNotFound
from sampan.volumes.drivers.plugin import PluginDriver
from sampan.volumes.errors import DriverNotFound


def test_where_plugins_are_found(tmp_path: Path) -> None:
    sockets, specs = tmp_path / "run", tmp_path / "etc"
    (sockets / "folder").mkdir(parents=True)
    (sockets / "folder/folder.sock").touch()
    (sockets / "plain.sock").touch()
    specs.mkdir()
    (specs / "far.spec").write_text("tcp://example.org:8080\n")
    (specs / "sure.json").write_text(json.dumps({"Addr": "https://x:1", "TLSConfig": {"CAFile": "/ca"}}))
    (specs / "bad.json").write_text("[]")
    (specs / "odd.spec").write_text("ftp://x")
    folders = PluginFolders(sockets, (tmp_path / "none", specs))
    assert folders.names() == ["bad", "far", "folder", "odd", "plain", "sure"]
    assert folders.find("plain") == Address(f"unix://{sockets}/plain.sock")
    assert folders.find("folder") == Address(f"unix://{sockets}/folder/folder.sock")
    assert folders.find("far") == Address("tcp://example.org:8080")
    assert folders.find("sure") == Address("https://x:1", {"CAFile": "/ca"})
    for name in ("bad", "odd"):
        with pytest.raises(InvalidParameter):
            folders.find(name)
    for name in ("", "none", "../run/plain", ".x", "a/b"):
        with pytest.raises(PluginNotFound, match=f'plugin "{name}" not found'):
            folders.find(name)


def test_the_calls_of_the_protocol(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with VolumePlugin(tmp_path / "p.sock", tmp_path / "kept") as plugin:
        driver = PluginDriver(Plugin("p", Address(f"unix://{tmp_path}/p.sock")))
        assert (driver.name, driver.scope) == ("p", "global")
        driver.create("vol", {"a": "b"})
        assert driver.mount("vol", {}, "user") == driver.path("vol") == f"{tmp_path}/kept/vol"
        driver.unmount("vol", {}, "user", last=True)
        found = driver.describe("vol")
        assert found is not None
        assert (found.mountpoint, found.status) == (f"{tmp_path}/kept/vol", {"tier": "gold"})
        assert [volume.name for volume in driver.list_volumes()] == ["vol"]
        driver.remove("vol")
        assert driver.describe("vol") is None
        with pytest.raises(PluginFailed, match=r"^VolumeDriver\.Mount: vol is not here$"):
            driver.mount("vol", {}, "user")
        assert [call for call, _ in plugin.calls[:3]] == ["Capabilities", "Create", "Mount"]


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (b"{}", 200, None),
        (b"", 200, None),
        (b"[]", 200, "something else than a JSON object"),
        (b"nonsense", 200, "something else than JSON"),
        (b"nonsense", 500, "X: nonsense"),
        (b"{}", 404, "answers with status 404"),
        (b'{"Err": "no"}', 200, "X: no"),
    ],
)
def test_answers(tmp_path: Path, answer: bytes, status: int, error: str | None) -> None:
    with FakeDaemon(tmp_path / "p.sock") as server:
        server.on("POST", "/X", status=status, body=answer)
        plugin = Plugin("p", Address(f"unix://{tmp_path}/p.sock"))
        if error is None:
            assert plugin.call("X", {}) == {}
        else:
            with pytest.raises(PluginFailed, match=error):
                plugin.call("X", {})


def test_a_plugin_that_is_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(PluginFailed, match=r"plugin p: dial unix .*: No such file"):
        PluginDriver(Plugin("p", Address(f"unix://{tmp_path}/none")))
    with FakeDaemon(tmp_path / "p.sock") as server:
        server.on("POST", "/Plugin.Activate", json={"Implements": ["authz"]})
        with pytest.raises(DriverNotFound):
            PluginDriver(Plugin("p", Address(f"unix://{tmp_path}/p.sock")))
