"""``info``: facts about the engine and its host."""

from sampan.base.errors import EngineError
from sampan.base.units import bytes_size
from sampan.cli.commands.version import client_facts
from sampan.cli.errors import CommandError
from sampan.client.errors import ConnectionFailed
from sampan.client.session import API_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

    Json = dict[str, Any]

# Fields that are shown on one line, only if they have something to say.
_HOST: "Final" = (
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
)
_PROXIES: "Final" = (("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy"))
_GO_NAMES: "Final" = {
    "HTTPProxy": "HttpProxy",
    "HTTPSProxy": "HttpsProxy",
    "CPUCfsPeriod": "CpuCfsPeriod",
    "CPUCfsQuota": "CpuCfsQuota",
    "BridgeNfIP6tables": "BridgeNfIp6tables",
}


def info(app: "App", parsed: "Parsed") -> None:
    """Print the client's facts and the engine's; without an engine, the client's, and fail."""
    source = parsed.flags["format"]
    client = {"Debug": app.debug, **client_facts(app, API_VERSION), "Plugins": [], "Warnings": None}
    server: Json | None = None
    failure: EngineError | CommandError | None = None
    try:
        server = app.client.info()
    except (ConnectionFailed, CommandError) as error:
        failure = error
    except EngineError as error:
        failure = CommandError(f"ERROR: {error}\nerrors pretty printing info")
    if source:
        from sampan.cli.lists import show_object
        from sampan.cli.shapes import Struct

        facts = Struct({**(server or {}), "ClientInfo": client}, "system.dockerInfo", _GO_NAMES)
        show_object(app, facts, source, facts.go_type)
    else:
        app.out_lines(["Client: Sampan", *_client_lines(client), "", "Server:"])
        if server is not None:
            app.out_lines([*_server_lines(server, debug=app.debug), ""])
            for warning in server.get("Warnings") or ():
                app.err(warning)
    if failure is not None:
        raise failure


def _client_lines(client: "Json") -> "Iterator[str]":
    yield f" Version:    {client['Version']}"
    yield f" Context:    {client['Context']}"
    yield f" Debug Mode: {_truth(client['Debug'])}"


def _server_lines(server: "Json", *, debug: bool) -> "Iterator[str]":
    yield f" Containers: {server.get('Containers', 0)}"
    for state in ("Running", "Paused", "Stopped"):
        yield f"  {state}: {server.get(f'Containers{state}', 0)}"
    yield f" Images: {server.get('Images', 0)}"
    yield from _present(server, (("Server Version", "ServerVersion"), ("Storage Driver", "Driver")))
    for name, value in server.get("DriverStatus") or ():
        yield f"  {name}: {value}"
    yield from _present(
        server,
        (
            ("Logging Driver", "LoggingDriver"),
            ("Cgroup Driver", "CgroupDriver"),
            ("Cgroup Version", "CgroupVersion"),
        ),
    )
    plugins = server.get("Plugins") or {}
    yield " Plugins:"
    for kind in ("Volume", "Network", "Authorization", "Log"):
        if plugins.get(kind) or kind != "Authorization":
            yield f"  {kind}: {' '.join(plugins.get(kind) or ())}"
    if folders := server.get("CDISpecDirs"):
        yield " CDI spec directories:"
        yield from (f"  {folder}" for folder in folders)
    yield f" Swarm: {(server.get('Swarm') or {}).get('LocalNodeState', '')}"
    if runtimes := server.get("Runtimes"):
        yield f" Runtimes: {' '.join(sorted(runtimes))}"
        yield f" Default Runtime: {server.get('DefaultRuntime', '')}"
    yield f" Init Binary: {server.get('InitBinary', '')}"
    yield from _security_lines(server)
    yield from _host_lines(server, debug=debug)
    yield from _registry_lines(server)
    yield f" Live Restore Enabled: {_truth(server.get('LiveRestoreEnabled'))}"
    if pools := server.get("DefaultAddressPools"):
        yield " Default Address Pools:"
        yield from (f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in pools)
    if driver := (server.get("FirewallBackend") or {}).get("Driver"):
        yield f" Firewall Backend: {driver}"


def _security_lines(server: "Json") -> "Iterator[str]":
    if options := server.get("SecurityOptions"):
        yield " Security Options:"
        for option in options:
            fields = dict(part.partition("=")[::2] for part in option.split(","))
            yield f"  {fields.get('name', option)}"
            if "profile" in fields:
                yield f"   Profile: {fields['profile']}"


def _host_lines(server: "Json", *, debug: bool) -> "Iterator[str]":
    yield from _present(server, _HOST)
    yield f" CPUs: {server.get('NCPU', 0)}"
    yield f" Total Memory: {bytes_size(server.get('MemTotal', 0))}"
    yield from _present(server, (("Name", "Name"), ("ID", "ID")))
    yield f" Docker Root Dir: {server.get('DockerRootDir', '')}"
    yield f" Debug Mode: {_truth(server.get('Debug'))}"
    if server.get("Debug") or debug:
        yield f"  File Descriptors: {server.get('NFd', 0)}"
        yield f"  Tasks: {server.get('NGoroutines', 0)}"
        yield f"  System Time: {server.get('SystemTime', '')}"
        yield f"  EventsListeners: {server.get('NEventsListener', 0)}"
    yield from _present(server, _PROXIES)
    if labels := server.get("Labels"):
        yield " Labels:"
        yield from (f"  {label}" for label in labels)
    yield f" Experimental: {_truth(server.get('ExperimentalBuild'))}"


def _registry_lines(server: "Json") -> "Iterator[str]":
    registries = server.get("RegistryConfig") or {}
    indexes = (registries.get("IndexConfigs") or {}).values()
    insecure = [str(index["Name"]) for index in indexes if not index.get("Secure")]
    if places := insecure + list(registries.get("InsecureRegistryCIDRs") or ()):
        yield " Insecure Registries:"
        yield from (f"  {place}" for place in places)
    if mirrors := registries.get("Mirrors"):
        yield " Registry Mirrors:"
        yield from (f"  {mirror}" for mirror in mirrors)


def _present(server: "Json", fields: "tuple[tuple[str, str], ...]") -> "Iterator[str]":
    for title, field in fields:
        if server.get(field):
            yield f" {title}: {server[field]}"


def _truth(value: object) -> str:
    return "true" if value else "false"
