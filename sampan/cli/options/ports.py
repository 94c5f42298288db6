"""Published and exposed ports: ``--publish``, ``--expose`` and the ports of services.

Rules and messages of docker/go-connections and of the API's port types.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROTOCOLS = ("tcp", "udp", "sctp")
_OUT_OF_RANGE = "value out of range"


def parse_port(text: str) -> int:
    """Return a port number; "" is 0. Raises ValueError (``invalid port 'x': invalid syntax``)."""
    if not text:
        return 0
    try:
        return port_number(text)
    except ValueError as error:
        raise ValueError(f"invalid port '{text}': {error}") from None


def port_number(text: str) -> int:
    """Return a port number of 0 to 65535. Raises ValueError with the bare reason."""
    if not text:
        raise ValueError("value is empty")
    body = text[1:] if text[0] in "+-" else text
    if not (body.isascii() and body.isdigit()):
        raise ValueError("invalid syntax")
    if abs(int(body)) >= 2**63:
        raise ValueError(_OUT_OF_RANGE)
    if not 0 <= int(text) <= 65535:
        raise ValueError(f"{_OUT_OF_RANGE} (0–65535)")
    return int(text)


def _strict_number(text: str) -> int:
    """Return a port number by the API's stricter rule, digits alone. Raises ValueError with the reason."""
    if text[:1] in {"+", "-"}:
        raise ValueError("invalid syntax")
    try:
        return port_number(text)
    except ValueError as error:
        raise ValueError(_OUT_OF_RANGE if str(error).startswith(_OUT_OF_RANGE) else str(error)) from None


def parse_range(text: str, number: "Any" = port_number) -> tuple[int, int]:
    """Return the first and last port of ``80`` or ``80-90``. Raises ValueError."""
    if not text:
        raise ValueError("empty string specified for ports")
    start, dash, end = text.partition("-")
    try:
        first: int = number(start)
    except ValueError as error:
        raise ValueError(f"invalid start port '{start}': {error}") from None
    if not dash or start == end:
        return first, first
    try:
        last: int = number(end)
    except ValueError as error:
        raise ValueError(f"invalid end port '{end}': {error}") from None
    if last < first:
        raise ValueError(f"invalid port range: {text}")
    return first, last


def split_protocol(text: str) -> tuple[str, str]:
    """Return port and protocol of ``80/udp``; tcp unless named, both empty without a port."""
    port, _, protocol = text.partition("/")
    return (port, protocol or "tcp") if port else ("", "")


def parse_publish(text: str) -> list[tuple[str, str, str]]:
    """Return what ``[[ip:][host port]:]port[/protocol]`` publishes: (``80/tcp``, host IP, host port) each.

    Both ports may be ranges of one length; a host range for a single port is kept (``8000-8010``: any of
    them). An empty host port stands for any. Raises ValueError.
    """
    front, _, container = text.rpartition(":")
    host_ip, _, host_port = front.rpartition(":")
    port, protocol = split_protocol(container)
    if not port:
        raise ValueError(f"no port specified: {text}<empty>")
    protocol = protocol.lower()
    if protocol not in _PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    host_ip = _bare_address(host_ip)
    try:
        first, last = parse_range(port)
    except ValueError:
        raise ValueError(f"invalid containerPort: {port}") from None
    if not host_port:
        return [(f"{number}/{protocol}", host_ip, "") for number in range(first, last + 1)]
    try:
        host_first, host_last = parse_range(host_port)
    except ValueError:
        raise ValueError(f"invalid hostPort: {host_port}") from None
    if first == last:
        shown = str(host_first) if host_first == host_last else f"{host_first}-{host_last}"
        return [(f"{first}/{protocol}", host_ip, shown)]
    if last - first != host_last - host_first:
        raise ValueError(f"invalid ranges specified for container and host Ports: {port} and {host_port}")
    return [
        (f"{number}/{protocol}", host_ip, str(host_first + number - first))
        for number in range(first, last + 1)
    ]


def _bare_address(text: str) -> str:
    """Return an address in its usual form, without brackets. Raises ValueError for what is none."""
    address = text
    if text[:1] == "[":
        address, bracket, rest = text[1:].partition("]")
        if not bracket or rest:
            what = "missing ']'" if not bracket else "too many colons" if rest[0] == ":" else "missing port"
            raise ValueError(f"invalid IP address {text}: address {text}:: {what} in address")
    if not address:
        return ""
    from sampan.cli.options.addresses import packed, render

    number = packed(address)
    if number is None:
        raise ValueError(f"invalid IP address: {address}")
    return render(number)


def render_publish(mapping: tuple[str, str, str]) -> str:
    """Return one mapping of ``parse_publish`` as canonical text: ``[::1]:8080:80/tcp``, ``::80/tcp``."""
    port, host_ip, host_port = mapping
    return f"{f'[{host_ip}]' if ':' in host_ip else host_ip}:{host_port}:{port}"


def short_form(text: str) -> str:
    """Return ``target=80,published=8080,protocol=tcp`` in the short form; others as they are.

    Raises ValueError.
    """
    if "=" not in text:
        return text
    fields = {"published": "", "target": "", "protocol": "tcp"}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise ValueError(f"invalid publish opts format (should be name=value but got '{part}')")
        fields[key] = value
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}"


def publish(
    specs: list[str], exposed: list[str]
) -> "tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, str]]]]":
    """Return ExposedPorts and PortBindings for the values of ``--publish`` and ``--expose``.

    Raises ValueError.
    """
    ports: dict[str, dict[str, Any]] = {}
    bindings: dict[str, list[dict[str, str]]] = {}
    for spec in [short_form(spec) for spec in specs]:
        for port, host_ip, host_port in parse_publish(spec):
            ports[port] = {}
            bindings.setdefault(port, []).append({"HostIp": host_ip, "HostPort": host_port})
    for spec in exposed:
        try:
            first, last, protocol = parse_exposed(spec)
        except ValueError as error:
            raise ValueError(f"invalid range format for --expose: {error}") from None
        ports.update((f"{number}/{protocol}", {}) for number in range(first, last + 1))
    return ports, bindings


def parse_exposed(text: str) -> tuple[int, int, str]:
    """Return first and last port and protocol of ``80-90/udp``; any protocol passes. Raises ValueError."""
    if not text:
        raise ValueError("invalid port range: value is empty")
    span, _, protocol = text.partition("/")
    if not span:
        raise ValueError("invalid start port '': value is empty")
    try:
        first, last = parse_range(span, _strict_number)
    except ValueError as error:
        raise ValueError(str(error).replace(f"range: {span}", f"range: {text}")) from None
    return first, last, protocol.lower() or "tcp"


def parse_service_port(text: str) -> "list[dict[str, Any]]":
    """Return the ports a service publishes by ``text``, short or long form, in the API's spelling.

    Raises ValueError.
    """
    if is_long_form(text):
        return [_long_service_port(text)]
    ports = []
    for port, host_ip, host_port in parse_publish(text):
        if host_ip:
            raise ValueError("hostip is not supported")
        number, _, protocol = port.partition("/")
        first, last = parse_range(host_port) if host_port else (0, 0)
        ports += [
            {
                "Protocol": protocol,
                "TargetPort": int(number),
                "PublishedPort": published,
                "PublishMode": "ingress",
            }
            for published in range(first, last + 1)
        ]
    return [{key: value for key, value in port.items() if value != 0} for port in ports]


def is_long_form(text: str) -> bool:
    """Tell whether a value is in the long form of ports and networks: it has ``name=value`` in it."""
    return any(
        letter == "=" and _is_word(text[at - 1 : at]) and _is_word(text[at + 1 : at + 2])
        for at, letter in enumerate(text)
    )


def _is_word(letter: str) -> bool:
    return letter.isascii() and (letter.isalnum() or letter == "_")


def _long_service_port(text: str) -> "dict[str, Any]":
    from sampan.cli.options.csv import split_record

    port: dict[str, Any] = {"Protocol": "tcp", "TargetPort": 0, "PublishMode": "ingress"}
    for field in split_record(text):
        key, equals, value = field.lower().partition("=")
        if not equals or not key:
            raise ValueError(f"invalid field: {field}")
        if key == "protocol":
            if value not in _PROTOCOLS:
                raise ValueError(f"invalid protocol value '{value}'")
            port["Protocol"] = value
        elif key == "mode":
            if value not in {"ingress", "host"}:
                raise ValueError(f"invalid publish mode value ({value}): must be either 'ingress' or 'host'")
            port["PublishMode"] = value
        elif key in {"target", "published"}:
            try:
                number = _strict_number(value) if value else _no_number()
            except ValueError as error:
                raise ValueError(f"invalid {key} port ({value}): value must be an integer: {error}") from None
            port["TargetPort" if key == "target" else "PublishedPort"] = number
        else:
            raise ValueError(f"invalid field key: {key}")
    if not port["TargetPort"]:
        raise ValueError("missing mandatory field 'target'")
    return port


def _no_number() -> int:
    raise ValueError("invalid syntax")
