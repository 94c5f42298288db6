"""A volume driver that is a plugin: another process, asked over Docker's volume plugin protocol."""

from collections.abc import Mapping
from typing import Any, Final

from sampan.base.errors import EngineError
from sampan.base.plugins import Plugin
from sampan.volumes.driver import Described
from sampan.volumes.errors import DriverNotFound

_INTERFACE: Final = "VolumeDriver"


class PluginDriver:
    """The plugin ``plugin`` as a driver. Its volumes exist where it says; only our own uses are counted."""

    def __init__(self, plugin: Plugin) -> None:
        """Shake hands with the plugin. Raises DriverNotFound if it is of another kind, PluginFailed."""
        if _INTERFACE not in plugin.activate():
            raise DriverNotFound(plugin.name)
        self._plugin = plugin
        self.name = plugin.name
        self.scope = self._scope()

    def create(self, name: str, options: Mapping[str, str]) -> None:
        self._call("Create", {"Name": name, "Opts": dict(options)})

    def remove(self, name: str) -> None:
        self._call("Remove", {"Name": name})

    def path(self, name: str) -> str:
        return str(self._call("Path", {"Name": name}).get("Mountpoint") or "")

    def mount(self, name: str, options: Mapping[str, str], user: str) -> str:
        mountpoint = str(self._call("Mount", {"Name": name, "ID": user}).get("Mountpoint") or "")
        if not mountpoint.startswith("/"):
            raise EngineError(f"{_INTERFACE}.Mount: plugin {self.name} gives no mountpoint")
        return mountpoint

    def unmount(self, name: str, options: Mapping[str, str], user: str, *, last: bool) -> None:
        self._call("Unmount", {"Name": name, "ID": user})

    def describe(self, name: str) -> Described | None:
        try:
            found = self._call("Get", {"Name": name}).get("Volume")
        except EngineError:
            return None
        return _described(found)

    def list_volumes(self) -> list[Described]:
        found = self._call("List", {}).get("Volumes")
        described = [_described(entry) for entry in found] if isinstance(found, list) else []
        return [entry for entry in described if entry is not None]

    def _call(self, method: str, document: Mapping[str, Any]) -> dict[str, Any]:
        return self._plugin.call(f"{_INTERFACE}.{method}", document)

    def _scope(self) -> str:
        try:
            capabilities = self._call("Capabilities", {}).get("Capabilities")
        except EngineError:
            return "local"  # older than this call
        scope = (
            str(capabilities.get("Scope") or "local").lower() if isinstance(capabilities, dict) else "local"
        )
        return scope if scope in ("local", "global") else "local"


def _described(entry: object) -> Described | None:
    if not isinstance(entry, dict) or not entry.get("Name"):
        return None
    status = entry.get("Status")
    mountpoint = str(entry.get("Mountpoint") or "")
    return Described(str(entry["Name"]), mountpoint, status if isinstance(status, dict) else {})
