"""Options of ``run``, ``create`` and their kin: from flags to the documents of the Docker API.

One module a subject. Nothing is imported here: a module is loaded when a flag that it reads is used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.cli.parser import Flags


def container_body(
    flags: "Flags", args: list[str], environ: "Mapping[str, str]", path: str = "run"
) -> "tuple[dict[str, Any], str | None, str]":
    """Return what ``POST /containers/create`` takes: its body, the wanted name and the platform ("" = any).

    ``args``: the image and the command. ``path``: the command as typed, for the hint of an error.
    Raises UsageError.
    """
    from sampan.cli.options.container import build

    return build(flags, args, environ, path)
