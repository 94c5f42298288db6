"""``images --tree``: what there is of images for each platform, in the layout of Docker's client."""

from sampan.base.units import human_size
from sampan.cli.columns import width
from sampan.cli.rows.base import short_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    Cells = tuple[str, str, str, str, str]

_HEADER: "Final[Cells]" = ("IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA")
_IN_USE: "Final" = "U"
_LEGEND: "Final" = "Info ->  U In Use"
_GAP: "Final" = "   "
_ID_WIDTH: "Final" = 12


def render_tree(images: "list[dict[str, Any]]") -> str:
    """Return the text for entries of the API's list that have ``Manifests``."""
    lines = [_HEADER]
    for image in images:
        lines += _image(image)
    first = max(width(line[0]) for line in lines)
    text = [_LEGEND.rjust(first + len(_line(_HEADER, 0)) - 1), ""]
    text += [_line(line, first).rstrip() for line in lines]
    return "\n".join(text) + "\n"


def _line(cells: "Cells", first: int) -> str:
    name, identifier, usage, content, extra = cells
    return _GAP.join(
        (
            name + " " * (first - width(name)),
            identifier.ljust(_ID_WIDTH),
            usage.rjust(len(_HEADER[2])),
            content.rjust(len(_HEADER[3])),
            extra,
        )
    )


def _image(image: "dict[str, Any]") -> "Iterator[Cells]":
    manifests = [each for each in image.get("Manifests") or () if each.get("Kind") == "image"]
    content = sum(each["Size"]["Content"] for each in manifests)
    used = image.get("Containers", 0) > 0 or any(each["ImageData"]["Containers"] for each in manifests)
    *others, last = image.get("RepoTags") or ["<untagged>"]
    for name in others:
        yield name, "", "", "", ""
    yield (
        last,
        short_id(image["Id"]),
        human_size(image["Size"], 3),
        human_size(content, 3),
        _IN_USE if used else "",
    )
    for number, manifest in enumerate(manifests, 1):
        data, size = manifest["ImageData"], manifest["Size"]
        yield (
            ("└─ " if number == len(manifests) else "├─ ") + _platform(data["Platform"]),
            short_id(manifest["ID"]),
            human_size(size["Total"], 3),
            human_size(size["Content"], 3),
            _IN_USE if data["Containers"] else "",
        )
    if manifests:
        yield "", "", "", "", ""


def _platform(platform: "dict[str, Any]") -> str:
    parts = (platform.get("os", ""), platform.get("architecture", ""), platform.get("variant", ""))
    return "/".join(part for part in parts if part) or "unknown"
