"""``version`` and ``--version``: what the client and the daemon are."""

import posix

from sampan import __version__
from sampan.base.errors import EngineError
from sampan.cli.errors import CommandError
from sampan.client.config import read_file
from sampan.client.session import API_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_WIDTH: "Final" = 20
_SHORT: "Final" = 7
_GO_NAMES: "Final" = {"APIVersion": "ApiVersion"}


def version_line() -> str:
    """Return what ``--version`` prints."""
    return f"Sampan version {__version__}, build {build()}"


def build() -> str:
    """Return the short name of the revision this is: a checkout's commit, or ``release``."""
    git = f"{__file__.rpartition('/sampan/')[0]}/.git"
    try:
        head = read_file(f"{git}/HEAD").decode().strip()
        if not head.startswith("ref: "):
            return head[:_SHORT]
        name = head.removeprefix("ref: ")
        try:
            return read_file(f"{git}/{name}").decode()[:_SHORT]
        except FileNotFoundError:
            for line in read_file(f"{git}/packed-refs").decode().splitlines():
                if line.endswith(f" {name}"):
                    return line[:_SHORT]
    except (OSError, ValueError):
        pass
    return "release"


def client_facts(app: "App", api_version: str) -> "dict[str, Any]":
    """Return the client's half of ``version``, in the fields of Docker's."""
    import sys

    machine = posix.uname().machine
    return {
        "Version": __version__,
        "ApiVersion": api_version,
        "DefaultAPIVersion": API_VERSION,
        "GitCommit": build(),
        "GoVersion": f"python{'.'.join(map(str, sys.version_info[:3]))}",
        "Os": "linux",
        "Arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "BuildTime": "",
        "Context": app.context,
    }


def version(app: "App", parsed: "Parsed") -> None:
    """Print both halves; without a daemon, the client's, and fail."""
    failure: EngineError | CommandError | None = None
    server: dict[str, Any] | None = None
    api_version = API_VERSION
    try:
        server = app.client.version()
        api_version = app.client.api_version
    except (EngineError, CommandError) as error:
        failure = error
    client = client_facts(app, api_version)
    if server is not None:
        parts = server.get("Components") or []
        if all(part.get("Name") != "Engine" for part in parts):
            server["Components"] = [*parts, _engine(server)]
    if wanted := parsed.flags["format"]:
        from sampan.cli.lists import show_object
        from sampan.cli.shapes import Struct

        halves = {
            "Client": Struct(client, "system.clientVersion", _GO_NAMES),
            "Server": None if server is None else Struct(server, "*types.Version", _GO_NAMES),
        }
        show_object(app, halves, wanted, "system.versionInfo")
    else:
        app.out_lines([*_client_lines(client), *(_server_lines(server) if server else ())])
    if failure is not None:
        raise failure


def _engine(server: "dict[str, Any]") -> "dict[str, Any]":
    """Return the engine's component as daemons told it before there were components."""
    fields = {
        "ApiVersion": "ApiVersion",
        "MinAPIVersion": "MinAPIVersion",
        "GitCommit": "GitCommit",
        "GoVersion": "GoVersion",
        "Os": "Os",
        "Arch": "Arch",
        "BuildTime": "BuildTime",
    }
    details = {name: str(server.get(field, "")) for name, field in fields.items()}
    details["Experimental"] = str(bool(server.get("Experimental"))).lower()
    return {"Name": "Engine", "Version": server.get("Version", ""), "Details": details}


def _client_lines(client: "dict[str, Any]") -> list[str]:
    api_version = client["ApiVersion"]
    if api_version != client["DefaultAPIVersion"]:
        api_version += f" (downgraded from {client['DefaultAPIVersion']})"
    return [
        "Client: Sampan",
        _row("Version", client["Version"]),
        _row("API version", api_version),
        _row("Python version", client["GoVersion"].removeprefix("python")),
        _row("Git commit", client["GitCommit"]),
        _row("OS/Arch", f"{client['Os']}/{client['Arch']}"),
        _row("Context", client["Context"]),
    ]


def _server_lines(server: "dict[str, Any]") -> list[str]:
    platform = (server.get("Platform") or {}).get("Name", "")
    lines = ["", f"Server: {platform}".rstrip()]
    for part in server["Components"]:
        details = part.get("Details") or {}
        lines.append(f" {part['Name']}:")
        lines.append(_row(" Version", part["Version"]))
        if part["Name"] != "Engine":
            lines += [_row(f" {key}", details[key]) for key in sorted(details)]
            continue
        spoken = f"{details.get('ApiVersion', '')} (minimum version {details.get('MinAPIVersion', '')})"
        lines += [
            _row(" API version", spoken),
            _row(" Go version", details.get("GoVersion", "")),
            _row(" Git commit", details.get("GitCommit", "")),
            _row(" Built", details.get("BuildTime", "")),
            _row(" OS/Arch", f"{details.get('Os', '')}/{details.get('Arch', '')}"),
            _row(" Experimental", details.get("Experimental", "")),
        ]
    return lines


def _row(name: str, value: str) -> str:
    return f"{f' {name}:':<{_WIDTH}}{value}".rstrip()
