"""A volume plugin of the tests' own: Docker's volume plugin protocol over a unix socket."""

from pathlib import Path
from typing import Any

from support.fake_daemon import FakeDaemon, Received, Reply


class VolumePlugin:
    """Keeps volumes as folders below ``folder`` while the block lasts; ``calls`` has what it was asked."""

    def __init__(self, address: Path, folder: Path) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuse: set[str] = set()
        self.mounted: dict[str, set[str]] = {}
        self._folder = folder
        self._server = FakeDaemon(address)
        for name in ("Create", "Remove", "Mount", "Unmount", "Path", "Get", "List", "Capabilities"):
            self._server.on("POST", f"/VolumeDriver.{name}", self._handle)
        self._server.on("POST", "/Plugin.Activate", json={"Implements": ["VolumeDriver"]})

    def __enter__(self) -> "VolumePlugin":
        self._server.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._server.__exit__(*details)

    def called(self, name: str) -> list[dict[str, Any]]:
        """Return the documents that ``name`` was called with."""
        return [document for call, document in self.calls if call == name]

    def _handle(self, request: Received) -> Reply:
        import json

        call = request.path.rpartition(".")[2]
        document = request.json
        self.calls.append((call, document))
        answer = {"Err": "it does not want to"} if call in self.refuse else self._answer(call, document)
        return Reply(body=json.dumps(answer).encode())

    def _answer(self, call: str, document: dict[str, Any]) -> dict[str, Any]:
        if call == "Capabilities":
            return {"Capabilities": {"Scope": "global"}}
        if call == "List":
            return {
                "Volumes": [self._shown(entry.name) for entry in sorted(self._folder.iterdir())],
                "Err": "",
            }
        name = document["Name"]
        place = self._folder / name
        if call == "Create":
            place.mkdir(exist_ok=True)
        elif not place.is_dir():
            return {"Err": f"{name} is not here"}
        elif call == "Remove":
            for entry in place.iterdir():
                entry.unlink()
            place.rmdir()
        elif call == "Mount":
            self.mounted.setdefault(name, set()).add(document["ID"])
            return {"Mountpoint": str(place), "Err": ""}
        elif call == "Unmount":
            self.mounted[name].remove(document["ID"])
        elif call == "Path":
            return {"Mountpoint": str(place), "Err": ""}
        elif call == "Get":
            return {"Volume": self._shown(name), "Err": ""}
        return {"Err": ""}

    def _shown(self, name: str) -> dict[str, Any]:
        return {"Name": name, "Mountpoint": str(self._folder / name), "Status": {"tier": "gold"}}
