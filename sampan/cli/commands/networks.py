"""``network``: its list, creation and removal, and who is on one."""

from sampan.base.errors import EngineError, NotFound
from sampan.cli.commands.processes import natural_key
from sampan.cli.errors import CommandError
from sampan.cli.lists import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.app import App
    from sampan.cli.parser import Flags, Parsed


def list_networks(app: "App", parsed: "Parsed") -> None:
    """Print networks, by name."""
    flags = parsed.flags
    source = flags["format"] or ("" if flags["quiet"] else app.config.text("networksFormat"))
    networks = app.client.networks(flags["filter"])
    networks.sort(key=lambda network: natural_key(network["Name"]))
    show(app, "network", networks, source, quiet=flags["quiet"], trunc=not flags["no-trunc"])


def create(app: "App", parsed: "Parsed") -> None:
    """Create a network and print its id."""
    try:
        body = _create_body(parsed.args[0], parsed.flags)
    except ValueError as error:
        raise CommandError(str(error)) from error
    made = app.client.create_network(body)
    if warning := made.get("Warning"):
        app.err(f"WARNING: {warning}")
    app.out(made["Id"])


def _create_body(name: str, flags: "Flags") -> "dict[str, Any]":
    """Return what POST /networks/create takes. Raises ValueError."""
    from sampan.cli.options.ipam import pools

    ipam = {
        "Driver": flags["ipam-driver"],
        "Options": flags["ipam-opt"] or {},
        "Config": pools(flags["subnet"], flags["ip-range"], flags["gateway"], flags["aux-address"] or {}),
    }
    body: dict[str, Any] = {
        "Name": name,
        "Driver": flags["driver"],
        "Options": flags["opt"] or {},
        "IPAM": ipam,
        "Internal": flags["internal"],
        "Attachable": flags["attachable"],
        "Ingress": flags["ingress"],
        "ConfigOnly": flags["config-only"],
        "Scope": flags["scope"],
        "Labels": dict(_label(text) for text in flags["label"]),
    }
    for flag, key in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if flag in flags:
            body[key] = flags[flag]
    if flags["config-from"]:
        body["ConfigFrom"] = {"Network": flags["config-from"]}
    return body


def _label(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def remove(app: "App", parsed: "Parsed") -> None:
    """Remove networks and print their names; forced, one that is not there is no failure."""
    failures = []
    for name in parsed.args:
        try:
            app.client.remove_network(name)
        except NotFound as error:
            if not parsed.flags["force"]:
                failures.append(str(error))
        except EngineError as error:
            failures.append(str(error))
        else:
            app.out(name)
    if failures:
        raise CommandError("\n".join(failures))


def connect(app: "App", parsed: "Parsed") -> None:
    """Attach a container to a network."""
    flags = parsed.flags
    network, container = parsed.args
    addresses = {
        key: flags[flag]
        for flag, key in (("ip", "IPv4Address"), ("ip6", "IPv6Address"), ("link-local-ip", "LinkLocalIPs"))
        if flags[flag]
    }
    settings: dict[str, Any] = {"IPAMConfig": addresses} if addresses else {}
    for flag, key in (("alias", "Aliases"), ("link", "Links"), ("gw-priority", "GwPriority")):
        if flags[flag]:
            settings[key] = flags[flag]
    options: dict[str, str] = {}
    for text in flags["driver-opt"]:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise CommandError("invalid key/value pair format in driver options")
        options[key.strip()] = value
    if options:
        settings["DriverOpts"] = options
    app.client.connect_network(network, container, settings)


def disconnect(app: "App", parsed: "Parsed") -> None:
    """Detach a container from a network."""
    network, container = parsed.args
    app.client.disconnect_network(network, container, force=parsed.flags["force"])


def prune(app: "App", parsed: "Parsed") -> None:
    """Remove, after asking, all networks that no container is on."""
    from sampan.cli.prompt import confirm

    if parsed.flags["dry-run"]:
        from sampan.cli.commands.prune import dry_run

        dry_run(app, parsed, network=parsed.flags["filter"])
        return
    if not parsed.flags["force"]:
        confirm(
            app,
            "WARNING! This will remove all custom networks not used by at least one container.\n"
            "Are you sure you want to continue?",
        )
    deleted = app.client.prune_networks(parsed.flags["filter"]).get("NetworksDeleted") or ()
    if deleted:
        app.out("\n".join(["Deleted Networks:", *deleted, ""]))
