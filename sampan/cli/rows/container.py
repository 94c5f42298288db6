"""Rows of ``ps``."""

from sampan.base.units import human_size
from sampan.cli.columns import ellipsis
from sampan.cli.record import Nil
from sampan.cli.rows.base import Row as BaseRow
from sampan.cli.rows.base import label, labels_text, local_time, short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.rows.base import Options

HEADERS = {
    "ID": "CONTAINER ID",
    "Names": "NAMES",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
    "HealthStatus": "HEALTH STATUS",
}
_ADDRESSES = {"": b"", "0.0.0.0": bytes(4), "::": bytes(16)}  # noqa: S104  # nothing is bound here
TABLE = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
QUIET_RAW = "container_id: {{.ID}}"


def table(options: "Options") -> tuple[str, ...]:
    """Return the columns of the usual table."""
    return (*TABLE, "Size") if options.size else TABLE


def raw(options: "Options") -> str:
    """Return the template of ``--format raw``."""
    lines = [
        QUIET_RAW,
        "image: {{.Image}}",
        "command: {{.Command}}",
        "created_at: {{.CreatedAt}}",
        "state: {{- pad .State 1 0}}",
        "status: {{- pad .Status 1 0}}",
        "names: {{.Names}}",
        "labels: {{- pad .Labels 1 0}}",
        "ports: {{- pad .Ports 1 0}}",
    ]
    return "\n".join([*lines, "size: {{.Size}}"] if options.size else lines) + "\n"


class Row(BaseRow):
    """A container of the list."""

    __slots__ = ()
    go_type = "*formatter.ContainerContext"

    def names(self) -> str:
        """Return the name; with all of it asked for, the names by links as well."""
        names: list[str] = [name.removeprefix("/") for name in self.item.get("Names") or ()]
        if not self.options.trunc:
            return ",".join(names)
        for name in names:
            if "/" not in name:
                return name
        return ""

    def image(self) -> str:
        """Return the image's name as people write it, without its digest; a bare id is cut."""
        image = self.text("Image")
        if not image or not self.options.trunc:
            return image or "<no image>"
        short = short_id(self.text("ImageID"))
        return short if short == short_id(image) else familiar(image)

    def command(self) -> str:
        """Return the command in quotation marks, cut to 20 columns."""
        command = self.text("Command")
        if self.options.trunc:
            command = ellipsis(command, 20)
        if command.isprintable() and '"' not in command and "\\" not in command:
            return f'"{command}"'
        from sampan.cli.gotext import quote

        return quote(command)

    def size(self) -> str:
        """Return the size of the writable layer, and of the whole file system where it is known."""
        own, whole = human_size(self.number("SizeRw"), 3), self.number("SizeRootFs")
        return f"{own} (virtual {human_size(whole, 3)})" if whole > 0 else own

    def mounts(self) -> str:
        """Return names of volumes and paths of binds."""
        names = [mount.get("Name") or mount.get("Source", "") for mount in self.item.get("Mounts") or ()]
        return ",".join(ellipsis(name, 15) if self.options.trunc else name for name in names)

    def local_volumes(self) -> str:
        """Return how many mounts are volumes of the driver ``local``."""
        return str(sum(mount.get("Driver") == "local" for mount in self.item.get("Mounts") or ()))

    def networks(self) -> str:
        """Return the networks that the container is on."""
        return ",".join((self.item.get("NetworkSettings") or {}).get("Networks") or ())

    def platform(self) -> "str | Nil":
        """Return ``os/architecture[/variant]`` where the engine tells it."""
        platform = (self.item.get("ImageManifestDescriptor") or {}).get("platform")
        if not platform:
            return Nil("*formatter.Platform")
        system = platform.get("os", "")
        if version := platform.get("os.version"):
            system += f"({version})"
        parts = [system, platform.get("architecture", ""), platform.get("variant", "")]
        return "/".join(part for part in parts if part)

    def health(self) -> str:
        """Return healthy, unhealthy, starting, or "" without a health check."""
        if status := (self.item.get("Health") or {}).get("Status"):
            return str(status)
        _, bracket, words = self.text("Status").partition("(")  # engines before API 1.52 tell it there alone
        words = words[:-1].removeprefix("health: ") if bracket and words[-1:] == ")" else ""
        return words if words in {"healthy", "unhealthy", "starting"} else ""


Row.columns = {
    "ID": Row.identifier,
    "Names": Row.names,
    "Image": Row.image,
    "Command": Row.command,
    "CreatedAt": lambda row: local_time(row.number("Created")),
    "RunningFor": lambda row: row.since(row.number("Created")),
    "Ports": lambda row: ports_text(row.item.get("Ports") or []),
    "State": lambda row: row.text("State"),
    "Status": lambda row: row.text("Status"),
    "Size": Row.size,
    "Labels": labels_text,
    "Mounts": Row.mounts,
    "LocalVolumes": Row.local_volumes,
    "Networks": Row.networks,
    "Platform": Row.platform,
    "HealthStatus": Row.health,
}
Row.methods = {"Label": label}


def familiar(image: str) -> str:
    """Return an image's name without digest and without the registry and folder that are implied."""
    name = image.partition("@")[0]
    if "/" not in name:
        return name
    for domain in ("docker.io/", "index.docker.io/"):
        name = name.removeprefix(domain)
    rest = name.removeprefix("library/")
    return rest if "/" not in rest else name


def ports_text(ports: "list[dict[str, Any]]") -> str:
    """Return published and exposed ports, neighbours as ranges: ``0.0.0.0:80->8080/tcp, 9000-9002/udp``."""
    if not ports:
        return ""
    groups: dict[tuple[str, str], tuple[int, int]] = {}
    done: list[str] = []
    mapped: list[str] = []
    for port in sorted(ports, key=_order) if len(ports) > 1 else ports:
        host, kind, inner, outer = _fields(port)
        if host and outer != inner:
            mapped.append(f"{_bracketed(host)}:{outer}->{inner}/{kind}")
            continue
        first, last = groups.get((host, kind), (inner, inner - 1))
        if inner != last + 1:
            done.append(_group(host, kind, first, last))
            first = inner
        groups[host, kind] = (first, inner)
    done += [_group(host, kind, first, last) for (host, kind), (first, last) in groups.items()]
    return ", ".join([*done, *mapped])


def _fields(port: "dict[str, Any]") -> tuple[str, str, int, int]:
    return (
        port.get("IP") or "",
        port.get("Type") or "",
        port.get("PrivatePort") or 0,
        port.get("PublicPort") or 0,
    )


def _order(port: "dict[str, Any]") -> "tuple[Any, ...]":
    host, kind, inner, outer = _fields(port)
    address = _ADDRESSES.get(host)
    if address is None:
        from sampan.cli.options.addresses import packed

        address = packed(host) or b""
    return inner, len(address), address, outer, kind


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _group(host: str, kind: str, first: int, last: int) -> str:
    span = str(first) if first == last else f"{first}-{last}"
    return f"{_bracketed(host)}:{span}->{span}/{kind}" if host else f"{span}/{kind}"
