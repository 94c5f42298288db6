"""``network explain`` and ``network dns trace``: what the engine knows, laid out for people."""

from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

    Json = dict[str, Any]

_OK = "ok"


def explain(app: "App", parsed: "Parsed") -> None:
    """Print all that is between a container, a network or a port and others; ``!`` marks a difference."""
    found = app.client.explain_network(parsed.args[0], parsed.flags["type"])
    if source := parsed.flags["format"]:
        from sampan.cli.lists import show_object

        show_object(app, found, source, "")
        return
    app.out_lines(_explained(found))


def _explained(found: "Json") -> "Iterator[str]":
    yield f"{found['Kind']} {found['Name']}  {found['Id'][:12]}"
    for space in found["Namespaces"]:
        yield ""
        where = f"  {space['Path']}" if space["Path"] else ""
        yield f"NAMESPACE of the {space['Owner']}  net:[{space['Inode']}]{where}"
        for interface in space["Interfaces"]:
            yield from _interface(interface)
        if space["Routes"]:
            yield "    routes"
            yield from (_marked(route["State"], f"      {route['Text']}") for route in space["Routes"])
    yield ""
    yield "RULES that a packet meets"
    yield from _rules(found["Rules"])
    yield ""
    yield "SETTINGS"
    for setting in found["Settings"]:
        actual = "" if setting["State"] == _OK else f" (is {setting['Actual'] or 'not there'})"
        yield _marked(setting["State"], f"    {setting['Key']} = {setting['Wanted']}{actual}")
        yield f"        {setting['Owner']}: {setting['Reason']}"
    yield ""
    yield "NAMES that the resolver knows"
    for name in found["Names"]:
        addresses = " ".join(name["Addresses"])
        yield f"    {name['Name']}  {addresses}  (container {name['Container']}, network {name['Network']})"
    if not found["Names"]:
        yield "    none: containers here do not know each other's names"
    yield ""
    yield "WHO REACHES WHAT"
    for entry in found["Reach"]:
        verb = "reaches" if entry["Allowed"] else "does not reach"
        yield f"    {entry['Who']} {verb} {entry['To']}"
        yield f"        {entry['Why']}"
    yield ""
    if found["Differences"]:
        yield "DIFFERENCES between what is wanted and what is there"
        yield from (f"  ! {difference}" for difference in found["Differences"])
    else:
        yield "All is as it shall be."


def _interface(interface: "Json") -> "Iterator[str]":
    facts = [interface["Kind"], "up" if interface["Up"] else "down"]
    if interface["Index"]:
        facts = [f"#{interface['Index']}", *facts, interface["Mac"], f"mtu {interface['Mtu']}"]
    if interface["Peer"]:
        facts.append(f"peer: {interface['Peer']}")
    if interface["Of"]:
        facts.append(f"port of {interface['Of']}")
    if interface["State"] == "missing":
        facts = []
    yield _marked(interface["State"], f"    {interface['Name']}  {'  '.join(filter(None, facts))}")
    if interface["Reason"]:
        yield f"        {interface['Owner']}: {interface['Reason']}"
    for address in interface["Addresses"]:
        yield _marked(address["State"], f"      {address['Text']}")


def _rules(rules: "Iterable[Json]") -> "Iterator[str]":
    chain = None
    for rule in rules:
        where = f"{rule['Table']} {rule['Chain']}".rstrip()
        if where != chain:
            yield f"  {where}"
            chain = where
        yield _marked(rule["State"], f"    {rule['Kernel'] or rule['Statement']}")
        yield f"        {rule['Owner']}: {rule['Reason']}"


def _marked(state: str, line: str) -> str:
    """Return ``line`` with a mark in front if it is not as it shall be."""
    if state in {_OK, "extra"}:
        return line if state == _OK else f"{line}  (somebody else's)"
    return f"  !{line[3:]}  ({state})"


def trace(app: "App", parsed: "Parsed") -> None:
    """Print which record or server answers a name that a container asks for."""
    if not parsed.flags["from"]:
        raise CommandError("say which container asks: --from CONTAINER")
    found = app.client.trace_name(parsed.args[0], parsed.flags["from"], parsed.flags["type"])
    if source := parsed.flags["format"]:
        from sampan.cli.lists import show_object

        show_object(app, found, source, "")
        return
    app.out_lines(_traced(found))


def _traced(found: "Json") -> "Iterator[str]":
    yield f"{found['Name']} {found['Type']}  asked by container {found['Container']}"
    looked = ", ".join(found["LookedIn"]) or "no network with names"
    yield f"  looked in   {looked}"
    for server in found["Servers"]:
        yield f"  asked       {server['Server']}: {server['Outcome']}, {server['Milliseconds']:.3f} ms"
    yield f"  answered    {found['Source']}: {found['Code']}, {found['Milliseconds']:.3f} ms"
    for record in found["Records"]:
        yield f"  {record['Type']:<10}  {record['Data']}  (ttl {record['Ttl']})"
    if not found["Records"]:
        yield "  no records"
