"""Objects of the engine as ``inspect`` shows them: indented JSON, and the shapes that templates rely on."""

from sampan.cli.gojson import to_json
from sampan.cli.shapes import Document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.shapes import Shape

# Fields that the API leaves out when they are empty, or that may be null (API reference, version 1.50).
_CONFIG: "dict[str, Shape]" = {
    **dict.fromkeys(("Env", "Cmd", "Entrypoint", "OnBuild", "Shell"), "list"),
    **dict.fromkeys(("ExposedPorts", "Volumes", "Labels"), "map"),
    **dict.fromkeys(
        ("User", "WorkingDir", "MacAddress", "StopSignal", "Hostname", "Domainname", "Image"), "text"
    ),
    **dict.fromkeys(("ArgsEscaped", "NetworkDisabled"), "truth"),
    "StopTimeout": "pointer",
    "Healthcheck": {
        "Test": "list",
        **dict.fromkeys(("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"), "number"),
    },
}
_LISTS_OF_HOST = (
    "Binds VolumesFrom CapAdd CapDrop Dns DnsOptions DnsSearch ExtraHosts GroupAdd Links SecurityOpt "
    "MaskedPaths ReadonlyPaths BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps "
    "BlkioDeviceWriteIOps Devices DeviceCgroupRules DeviceRequests Ulimits Mounts"
).split()
_HOST_CONFIG: "dict[str, Shape]" = {
    **dict.fromkeys(_LISTS_OF_HOST, "list"),
    **dict.fromkeys(("Annotations", "StorageOpt", "Tmpfs", "Sysctls"), "map"),
    **dict.fromkeys(("MemorySwappiness", "OomKillDisable", "PidsLimit", "Init"), "pointer"),
    "Runtime": "text",
    "LogConfig": {"Config": "map"},
    "PortBindings": ("map", ("list", {"HostIp": "text", "HostPort": "text"})),
}
_ENDPOINT: "dict[str, Shape]" = {
    **dict.fromkeys(("Links", "Aliases", "DNSNames"), "list"),
    "DriverOpts": "map",
    "GwPriority": "number",
    "IPAMConfig": {"IPv4Address": "text", "IPv6Address": "text", "LinkLocalIPs": "list"},
}
_CONTAINER: "dict[str, Shape]" = {
    "Args": "list",
    "ExecIDs": "list",
    "SizeRw": "pointer",
    "SizeRootFs": "pointer",
    "State": {"Health": {"Log": "list"}},
    "GraphDriver": {"Data": "map"},
    "Mounts": ("list", dict.fromkeys(("Name", "Driver", "Source", "Mode", "Propagation"), "text")),
    "Config": _CONFIG,
    "HostConfig": _HOST_CONFIG,
    "NetworkSettings": {
        "Ports": ("map", ("list", {"HostIp": "text", "HostPort": "text"})),
        "SecondaryIPAddresses": "list",
        "SecondaryIPv6Addresses": "list",
        "Networks": ("map", _ENDPOINT),
    },
    "ImageManifestDescriptor": "pointer",
}
_IMAGE: "dict[str, Shape]" = {
    **dict.fromkeys(("RepoTags", "RepoDigests", "Manifests"), "list"),
    **dict.fromkeys(
        ("Parent", "Comment", "Created", "DockerVersion", "Author", "Variant", "OsVersion"), "text"
    ),
    "VirtualSize": "number",
    "Config": _CONFIG,
    "GraphDriver": {"Data": "map"},
    "RootFS": {"Layers": "list"},
    "Descriptor": "pointer",
}
_NETWORK: "dict[str, Shape]" = {
    **dict.fromkeys(("Labels", "Options"), "map"),
    "Containers": ("map", {}),
    "Services": ("map", {}),
    "Peers": "list",
    "IPAM": {
        "Options": "map",
        "Config": ("list", {"IPRange": "text", "Gateway": "text", "AuxiliaryAddresses": "map"}),
    },
}
_VOLUME: "dict[str, Shape]" = {
    **dict.fromkeys(("Labels", "Options", "Status"), "map"),
    "CreatedAt": "text",
    "UsageData": "pointer",
    "ClusterVolume": "pointer",
}
# A field that only objects of one kind have, and the shapes of that kind.
_KINDS = (("HostConfig", _CONTAINER), ("RootFS", _IMAGE), ("IPAM", _NETWORK), ("Mountpoint", _VOLUME))


def completed(item: "dict[str, Any]") -> "dict[str, Any]":
    """Return an object in which a template can ask for all fields its kind may have."""
    for field, shapes in _KINDS:
        if field in item:
            return Document(item, shapes)
    return item


def indented(value: "Any", margin: str = "", *, step: str = "    ") -> str:
    """Return a value as JSON, four spaces a level, as Docker's client prints it (``<>&`` escaped)."""
    inner = margin + step
    if isinstance(value, dict) and value:
        fields = [
            f"{to_json(key, html=True)}: {indented(item, inner, step=step)}" for key, item in value.items()
        ]
        opening, closing = "{", "}"
    elif isinstance(value, (list, tuple)) and value:
        fields = [indented(item, inner, step=step) for item in value]
        opening, closing = "[", "]"
    else:
        return to_json(value, html=True)
    body = f",\n{inner}".join(fields)
    return f"{opening}\n{inner}{body}\n{margin}{closing}"
