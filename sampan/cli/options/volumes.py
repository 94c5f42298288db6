"""Mounts in their short forms: ``--volume`` and ``--tmpfs``."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def absolute(path: str) -> str:
    """Return a host path that begins with a dot as an absolute one; any other text as it is."""
    if path[:1] != ".":
        return path
    from os.path import abspath

    return abspath(path)


def split_volumes(specs: list[str]) -> "tuple[list[str], dict[str, dict[str, Any]]]":
    """Return HostConfig.Binds and Config.Volumes for the values of ``--volume``. Raises ValueError."""
    binds: list[str] = []
    volumes: dict[str, dict[str, Any]] = {}
    for spec in dict.fromkeys(specs):
        source = parse_volume(spec)["source"]
        if not source:
            volumes[spec] = {}
        elif source[0] == ".":
            host, _, rest = spec.partition(":")
            binds.append(f"{absolute(host)}:{rest}")
        else:
            binds.append(spec)
    return binds, volumes


def parse_volume(spec: str) -> dict[str, str]:
    """Return ``source`` ("" for an anonymous volume), ``target`` and ``mode`` of a short volume.

    ``C:\\path`` counts as one part: clients of Windows name paths so. Raises ValueError.
    """
    if not spec:
        raise ValueError("invalid empty volume spec")
    parts = [spec] if len(spec) <= 2 else _parts(spec)
    if "" in parts:
        raise ValueError(f"invalid spec: {spec}: empty section between colons")
    if len(parts) > 3:
        raise ValueError(f"invalid spec: {spec}: too many colons")
    if len(parts) == 1:
        return {"source": "", "target": parts[0], "mode": ""}
    return {"source": parts[0], "target": parts[1], "mode": parts[2] if len(parts) == 3 else ""}


def _parts(spec: str) -> list[str]:
    parts: list[str] = []
    drive = ""
    for piece in spec.split(":"):
        if drive:
            parts.append(f"{drive}:{piece}")
            drive = ""
        elif len(piece) == 1 and piece.isalpha():
            drive = piece
        else:
            parts.append(piece)
    return [*parts, drive] if drive else parts


def tmpfs(specs: list[str]) -> dict[str, str]:
    """Return HostConfig.Tmpfs: path → options, of the values of ``--tmpfs``."""
    return {path: options for path, _, options in (spec.partition(":") for spec in specs)}
