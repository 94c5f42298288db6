"""Devices on the command line: ``--device``, ``--gpus``, device rules and limits on block devices."""

from sampan.base.units import parse_ram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BPS = (
    "The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. "
    "Unit is optional and can be kb, mb, or gb"
)
_IOPS = "The correct format is <device-path>:<number>. Number must be a positive integer"


def split_devices(values: list[str]) -> "tuple[list[dict[str, str]], list[dict[str, Any]]]":
    """Return HostConfig.Devices and, for CDI names, HostConfig.DeviceRequests. Raises ValueError."""
    names = [value for value in values if _is_cdi_name(value)]
    mappings = [parse_device(value) for value in values if value not in names]
    return mappings, [{"Driver": "cdi", "DeviceIDs": names}] if names else []


def parse_device(text: str) -> dict[str, str]:
    """Return the mapping ``host[:container][:permissions]`` asks for, in the API's spelling.

    Raises ValueError.
    """
    if text.count(":") > 2 or text[:1] in {"", ":"}:
        raise ValueError(f"bad format for path: {text}")
    host, *rest = text.split(":")
    permissions, inside = "rwm", ""
    if len(rest) == 2:
        inside, permissions = rest
        if not _is_mode(permissions):
            raise ValueError(f"bad mode specified: {permissions}")
    elif rest and _is_mode(rest[0]):
        permissions = rest[0]
    elif rest:
        inside = rest[0]
    checked = host if not rest or (len(rest) == 1 and permissions == rest[0]) else inside
    if checked[:1] != "/":
        raise ValueError(f"{checked} is not an absolute path")
    if len(rest) < 2:
        host, inside = (host, _clean(inside)) if inside else (_clean(host), "")
    return {"PathOnHost": host, "PathInContainer": inside or host, "CgroupPermissions": permissions}


def _clean(path: str) -> str:
    from os.path import normpath

    return normpath(path)


def _is_mode(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def _is_cdi_name(text: str) -> bool:
    """Tell whether ``text`` is ``vendor/class=name``, a device of the Container Device Interface."""
    kind, equals, name = text.partition("=")
    vendor, slash, group = kind.partition("/")
    return (
        bool(equals and slash)
        and _is_cdi_word(vendor, "_-.")
        and vendor[0].isalpha()
        and _is_cdi_word(group, "_-.")
        and group[0].isalpha()
        and _is_cdi_word(name, "_-.:")
    )


def _is_cdi_word(text: str, inner: str) -> bool:
    return (
        bool(text)
        and text.isascii()
        and text[0].isalnum()
        and text[-1].isalnum()
        and all(letter.isalnum() or letter in inner for letter in text)
    )


def check_device_rule(text: str) -> str:
    """Return a device rule as it is: type, ``major:minor`` (either may be ``*``), permissions.

    Raises ValueError.
    """
    parts = text.split(" ")
    if len(parts) == 3:
        kind, numbers, permissions = parts
        major, colon, minor = numbers.partition(":")
        if (
            kind in {"a", "c", "b"}
            and colon
            and all(number == "*" or (number.isascii() and number.isdigit()) for number in (major, minor))
            and 1 <= len(permissions) <= 3
            and set(permissions) <= set("rwm")
        ):
            return text
    raise ValueError(f"invalid device cgroup format '{text}'")


def parse_bps_device(text: str) -> "dict[str, Any]":
    """Return ``/dev/name:size`` as a throttle of the API, bytes a second. Raises ValueError."""
    path, value = _split_device(text)
    try:
        return {"Path": path, "Rate": parse_ram(value)}
    except ValueError:
        raise ValueError(f"invalid rate for device: {text}. {_BPS}") from None


def parse_iops_device(text: str) -> "dict[str, Any]":
    """Return ``/dev/name:number`` as a throttle of the API, operations a second. Raises ValueError."""
    path, value = _split_device(text)
    if not (value.isascii() and value.isdigit()) or int(value) >= 2**64:
        raise ValueError(f"invalid rate for device: {text}. {_IOPS}")
    return {"Path": path, "Rate": int(value)}


def parse_weight_device(text: str) -> "dict[str, Any]":
    """Return ``/dev/name:weight`` (0, or 10 to 1000) as a weight of the API. Raises ValueError."""
    path, value = _split_device(text)
    if not (value.isascii() and value.isdigit()) or not (int(value) == 0 or 10 <= int(value) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(value)}


def _split_device(text: str) -> tuple[str, str]:
    path, _, value = text.partition(":")
    if not path or ":" not in text:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, value


def parse_gpus(text: str) -> "dict[str, Any]":
    """Return the device request that a value of ``--gpus`` asks for, in the API's spelling.

    ``all``, a count, or ``count=``, ``device=``, ``driver=``, ``capabilities=``, ``options=`` with commas
    between. Raises ValueError.
    """
    from sampan.cli.options.csv import split_record
    from sampan.cli.options.env import key_values

    request: dict[str, Any] = {}
    seen: set[str] = set()
    for field in split_record(text):
        key, equals, value = field.partition("=")
        if key in seen:
            raise ValueError(f"gpu request key '{key}' can be specified only once")
        seen.add(key)
        if not equals:
            seen.add("count")
            request["Count"] = _gpu_count(key)
        elif key == "driver":
            request["Driver"] = value
        elif key == "count":
            request["Count"] = _gpu_count(value)
        elif key == "device":
            request["DeviceIDs"] = value.split(",")
        elif key == "capabilities":
            request["Capabilities"] = [[*value.split(","), "gpu"]]
        elif key == "options":
            try:
                request["Options"] = key_values(split_record(value))
            except ValueError as error:
                raise ValueError(f"failed to read gpu options: {error}") from None
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    if "count" not in seen and "DeviceIDs" not in request:
        request["Count"] = 1
    request.setdefault("Options", {})
    request.setdefault("Capabilities", [["gpu"]])
    return request


def _gpu_count(text: str) -> int:
    if text == "all":
        return -1
    digits = text[1:] if text[:1] in {"+", "-"} else text
    reason = "invalid syntax"
    if digits.isascii() and digits.isdigit():
        if -(2**63) <= int(text) < 2**63:
            return int(text)
        reason = "value out of range"
    raise ValueError(f'invalid count ({text}): value must be either "all" or an integer: {reason}')
