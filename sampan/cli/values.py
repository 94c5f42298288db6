"""Flag values: from what stands on the command line to the value a command works with.

Every kind of flag in the table has its reader here; those of one domain (mounts, networks, …) live in
``sampan.cli.options`` and are loaded when such a flag is used. A reader raises ValueError with Docker's
words; ``parser`` puts the name of the flag in front.

==================================  =================================================================
kind                                value
==================================  =================================================================
bool, string, float                 bool, str, float
int, uint, uint16, uint32           int
bytes                               int, bytes
duration                            int, nanoseconds
decimal                             int, 1e-9 CPUs
list, strings and kinds below them  list of str
map, stringToString                 dict of str
filter                              dict: name → list of values
mount, network, gpu-request, port   list of dicts, see ``options``
ulimit                              dict: name → dict of the API
==================================  =================================================================
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

# kind → (module of options, function): text → one element of a list.
_ELEMENTS = {
    "mount": ("mounts", "parse_mount"),
    "network": ("networks", "parse_network"),
    "gpu-request": ("devices", "parse_gpus"),
}
# check= of the table → (module of options, function): text → text, or what the API wants.
_CHECKS = {
    "attach": ("container", "check_attach"),
    "bps-device": ("devices", "parse_bps_device"),
    "device-rule": ("devices", "check_device_rule"),
    "dns-search": ("addresses", "check_dns_search"),
    "env": ("env", "check_env"),
    "extra-host": ("addresses", "check_extra_host"),
    "iops-device": ("devices", "parse_iops_device"),
    "ip-address": ("addresses", "check_ip_address"),
    "label": ("env", "check_label"),
    "link": ("networks", "check_link"),
    "swap": ("resources", "parse_swap"),
    "sysctl": ("resources", "check_sysctl"),
    "weight-device": ("devices", "parse_weight_device"),
}
# kind → (module, function, further arguments): text → value.
_SCALARS: "dict[str, tuple[str, str, dict[str, Any]]]" = {
    "bool": ("base.units", "parse_bool", {}),
    "int": ("base.units", "parse_int", {}),
    "uint": ("base.units", "parse_int", {"signed": False}),
    "uint16": ("base.units", "parse_int", {"bits": 16, "signed": False}),
    "uint32": ("base.units", "parse_int", {"bits": 32, "signed": False}),
    "float": ("base.units", "parse_float", {}),
    "duration": ("base.units", "parse_duration", {}),
    "bytes": ("base.units", "parse_ram", {}),
    "decimal": ("cli.options.resources", "parse_cpus", {}),
    "ip": ("cli.options.addresses", "parse_ip", {}),
}
_LISTS = ("list", "config", "secret", "external-ca", "pref")
_ZERO: "dict[str, Any]" = {
    "bool": False,
    "int": 0,
    "uint": 0,
    "uint16": 0,
    "uint32": 0,
    "float": 0.0,
    "duration": 0,
    "bytes": 0,
    "decimal": 0,
}


def _load(module: str, function: str) -> "Callable[..., Any]":
    found: Callable[..., Any] = getattr(__import__(f"sampan.{module}", fromlist=(function,)), function)
    return found


def _option(module: str, function: str) -> "Callable[..., Any]":
    return _load(f"cli.options.{module}", function)


def read(kind: str, check: str, text: str, before: "Any", environ: "Mapping[str, str]") -> "Any":
    """Return the value of a flag that is given as ``text``; ``before``: its value so far, or None.

    ``kind`` and ``check`` are the table's. ``environ`` completes ``-e NAME``. Raises ValueError.
    """
    if kind in _SCALARS:
        if check:
            return _option(*_CHECKS[check])(text)
        module, function, more = _SCALARS[kind]
        return _load(module, function)(text, **more)
    if kind in _LISTS or kind in _ELEMENTS:
        if check == "env":
            element = _option(*_CHECKS[check])(text, environ)
        elif check:
            element = _option(*_CHECKS[check])(text)
        else:
            element = _option(*_ELEMENTS[kind])(text) if kind in _ELEMENTS else text
        return [*(before or ()), element]
    if kind in {"strings", "ipNetSlice"}:
        return [*(before or ()), *_comma_list(text)]
    if kind in {"map", "stringToString"}:
        pairs = [text] if kind == "map" else _comma_list(text) or [""]
        return {**(before or {}), **dict(_pair(pair, kind, check) for pair in pairs)}
    if kind == "filter":
        return _add_filter(text, before or {})
    if kind == "port":
        return [*(before or ()), *_option("ports", "parse_service_port")(text)]
    if kind == "ulimit":
        limit = _option("resources", "parse_ulimit")(text)
        return {**(before or {}), limit["Name"]: limit}
    return text


def default(kind: str, text: "str | None") -> "Any":
    """Return what a flag is worth that is not given; ``text``: its ``default=`` of the table."""
    if text is not None:
        return read(kind, "", text, None, {})
    if kind in _ZERO:
        return _ZERO[kind]
    if kind in {"map", "stringToString", "filter", "ulimit"}:
        return {}
    return [] if kind in _LISTS or kind in _ELEMENTS or kind in {"strings", "ipNetSlice", "port"} else ""


def _comma_list(text: str) -> list[str]:
    if '"' not in text and "\n" not in text:
        return text.split(",") if text else []
    fields: list[str] = _option("csv", "split_record")(text)
    return fields


def _pair(text: str, kind: str, check: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if kind == "stringToString" and not equals:
        raise ValueError(f"{text} must be formatted as key=value")
    if check:
        _option(*_CHECKS[check])(text)
    return key, value


def _add_filter(text: str, before: dict[str, list[str]]) -> dict[str, list[str]]:
    """Add ``name=value`` to filters; names are matched in any case, as Docker's client does."""
    if not text:
        return before
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    name, value = name.strip().lower(), value.strip()
    values = before.get(name, [])
    return {**before, name: values if value in values else [*values, value]}
