"""Platforms as ``--platform`` names them: ``oci.platform`` in small, without what that imports."""

import posix

from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_SYSTEMS: "Final" = ("linux", "windows", "darwin", "freebsd", "macos")
_ALIASES: "Final" = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
_LETTERS: "Final" = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


def parse_platform(text: str) -> "dict[str, str] | None":
    """Return ``os``, ``os/arch[/variant]`` or ``arch`` as the API takes it, None for "".

    Raises CommandError.
    """
    if not text:
        return None
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(part and _LETTERS.issuperset(part) for part in parts):
        raise CommandError(f'invalid platform: "{text}": cannot parse platform specifier: invalid argument')
    if len(parts) == 1:
        here = _ALIASES.get(machine := posix.uname().machine, (machine, ""))[0]
        parts = [parts[0], here] if parts[0] in _SYSTEMS else ["linux", parts[0]]
    architecture, variant = _ALIASES.get(parts[1], (parts[1], ""))
    variant = parts[2] if len(parts) == 3 else variant
    if (architecture, variant) in (("amd64", "v1"), ("arm64", "v8")):
        variant = ""
    found = {"os": parts[0], "architecture": architecture, "variant": variant}
    return {name: value for name, value in found.items() if value}
