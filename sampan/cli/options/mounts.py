"""Mounts in the long form: ``--mount``."""

from sampan.base.units import parse_ram
from sampan.cli.gotext import quote
from sampan.cli.options.csv import split_record
from sampan.cli.options.volumes import absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ALONE = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src", "idmap")
# Where in the API's document the options of one mount type go.
_PLACES = {
    "bind": "BindOptions",
    "volume": "VolumeOptions",
    "image": "ImageOptions",
    "tmpfs": "TmpfsOptions",
    "cluster": "ClusterOptions",
}
_RECURSIVE = {
    "disabled": "NonRecursive",
    "writable": "ReadOnlyNonRecursive",
    "readonly": "ReadOnlyForceRecursive",
}


def parse_mount(text: str) -> "dict[str, Any]":
    """Return the mount that a value of ``--mount`` asks for, in the API's spelling.

    What is false, empty or 0 is left out, as in the API. Raises ValueError in Docker's words.
    """
    text = text.strip()
    if not text:
        raise ValueError("value is empty")
    mount: dict[str, Any] = {"Type": "volume"}
    for field in split_record(text):
        _add(mount, field)
    _check(mount)
    return mount


def _add(mount: "dict[str, Any]", field: str) -> None:
    key, equals, value = field.partition("=")
    if key.strip() != key:
        raise ValueError(f"invalid option '{key.strip()}' in '{field}': option should not have whitespace")
    if equals and not value.strip():
        raise ValueError(f"invalid value for '{key}': value is empty")
    if value.strip() != value:
        raise ValueError(f"invalid value for '{key}' in '{field}': value should not have whitespace")
    key = key.lower()
    if not equals and key not in _ALONE:
        raise ValueError(f"invalid field '{field}' must be a key=value pair")
    kind = key.partition("-")[0]
    match key:
        case "type":
            mount["Type"] = value.lower()
        case "source" | "src":
            mount["Source"] = absolute(value)
        case "target" | "dst" | "destination":
            mount["Target"] = value
        case "readonly" | "ro":
            _switch(mount, "ReadOnly", key, value, equals)
        case "consistency":
            mount["Consistency"] = value.lower()
        case "bind-propagation":
            _options(mount, kind)["Propagation"] = value.lower()
        case "bind-nonrecursive":
            raise ValueError("bind-nonrecursive is deprecated, use bind-recursive=disabled instead")
        case "bind-recursive":
            if value in _RECURSIVE:
                _options(mount, kind)[_RECURSIVE[value]] = True
            elif value != "enabled":
                choice = '"enabled", "disabled", "writable", or "readonly"'
                raise ValueError(f"invalid value for {key}: {value} (must be {choice})")
        case "bind-create-src":
            _switch(_options(mount, kind), "CreateMountpoint", key, value, equals)
        case "idmap":  # ours: the owner of the source for the container's user, or ranges of ids
            mount["IDMap"] = value or "owner"
        case "volume-nocopy":
            _switch(_options(mount, kind), "NoCopy", key, value, equals)
        case "volume-subpath" | "image-subpath":
            _options(mount, kind)["Subpath"] = value
        case "volume-label":
            _set_pair(_options(mount, kind), "Labels", value)
        case "volume-driver":
            _options(mount, kind).setdefault("DriverConfig", {})["Name"] = value
        case "volume-opt":
            _set_pair(_options(mount, kind).setdefault("DriverConfig", {}), "Options", value)
        case "tmpfs-size":
            try:
                _options(mount, kind)["SizeBytes"] = parse_ram(value)
            except ValueError:
                raise ValueError(f"invalid value for {key}: {value}") from None
        case "tmpfs-mode":
            if (
                not value.isascii()
                or not value.isdigit()
                or set(value) & {"8", "9"}
                or int(value, 8) >= 2**32
            ):
                raise ValueError(f"invalid value for {key}: {value}")
            _options(mount, kind)["Mode"] = int(value, 8)
        case _:
            raise ValueError(f"unknown option '{key}' in '{field}'")


def _options(mount: "dict[str, Any]", kind: str) -> "dict[str, Any]":
    options: dict[str, Any] = mount.setdefault(_PLACES[kind], {})
    return options


def _switch(target: "dict[str, Any]", name: str, key: str, value: str, equals: str) -> None:
    if equals and value not in {"1", "true", "0", "false"}:
        raise ValueError(
            f"invalid value for '{key}': invalid boolean value ({quote(value)}): "
            'must be one of "true", "1", "false", or "0" (default "true")'
        )
    if not equals or value in {"1", "true"}:
        target[name] = True
    else:
        target.pop(name, None)


def _set_pair(target: "dict[str, Any]", name: str, text: str) -> None:
    key, _, value = text.partition("=")
    if key:
        target.setdefault(name, {})[key] = value


def _check(mount: "dict[str, Any]") -> None:
    """Refuse options of another mount type and those that need others. Raises ValueError."""
    for kind, place in _PLACES.items():
        if place in mount and mount["Type"] != kind:
            raise ValueError(f"cannot mix '{kind}-*' options with mount type '{mount['Type']}'")
    bind = mount.get("BindOptions", {})
    for name, word in (("ReadOnlyNonRecursive", "writable"), ("ReadOnlyForceRecursive", "readonly")):
        if name in bind and "ReadOnly" not in mount:
            raise ValueError(
                f"option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction"
            )
    if "ReadOnlyForceRecursive" in bind and bind.get("Propagation") != "rprivate":
        raise ValueError(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' "
            "to be specified in conjunction"
        )
