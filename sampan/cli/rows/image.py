"""Rows of ``images``: one for each name of an image, or one that has none."""

from sampan.base.units import human_size
from sampan.cli.rows.base import Row as BaseRow
from sampan.cli.rows.base import local_time
from sampan.cli.rows.container import familiar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.rows.base import Options

HEADERS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}
QUIET_RAW = "image_id: {{.ID}}"
INSTEAD = {"CreatedSince": "N/A"}  # what the usual table has where a column is empty
NONE = "<none>"
_NEVER = -62135596800  # Go's zero time, the year 1


def table(options: "Options") -> tuple[str, ...]:
    """Return the columns of the usual table."""
    digest = ("Digest",) if options.digests else ()
    return ("Repository", "Tag", *digest, "ID", "CreatedSince", "Size")


def raw(options: "Options") -> str:
    """Return the template of ``--format raw``."""
    digest = "digest: {{.Digest}}\n" if options.digests else ""
    return (
        f"repository: {{{{ .Repository }}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\n"
        "created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
    )


def custom(source: str, options: "Options") -> str:
    """Return a template of the user's with what ``--digests`` adds to it."""
    if source.startswith("table") and options.digests and "{{.Digest}}" not in source:
        return source + "\t{{.Digest}}"
    return source


class Row(BaseRow):
    """A name of an image."""

    __slots__ = ("digest", "repository", "tag")
    go_type = "*formatter.imageContext"

    def __init__(
        self,
        item: "dict[str, Any]",
        options: "Options",
        repository: str = NONE,
        tag: str = NONE,
        digest: str = NONE,
    ) -> None:
        super().__init__(item, options)
        self.repository = repository
        self.tag = tag
        self.digest = digest

    def created_since(self) -> str:
        """Return the age, "" for an image that does not tell it."""
        created = self.number("Created")
        return "" if created == _NEVER else self.since(created)

    def counted(self, name: str) -> int | None:
        """Return a number that the engine works out only when asked to, None where it did not."""
        value = self.number(name)
        return None if value == -1 else value

    def unique_size(self) -> str:
        """Return the bytes that no other image shares."""
        size, shared = self.counted("Size"), self.counted("SharedSize")
        return "N/A" if size is None or shared is None else human_size(size - shared)


def _or_na(value: int | None) -> str:
    return "N/A" if value is None else str(value)


Row.columns = {
    "ID": Row.identifier,
    "Repository": lambda row: row.repository,
    "Tag": lambda row: row.tag,
    "Digest": lambda row: row.digest,
    "CreatedSince": Row.created_since,
    "CreatedAt": lambda row: local_time(row.number("Created")),
    "Size": lambda row: human_size(row.number("Size"), 3),
    "Containers": lambda row: _or_na(row.counted("Containers")),
    "SharedSize": lambda row: (
        "N/A" if row.counted("SharedSize") is None else human_size(row.number("SharedSize"))
    ),
    "UniqueSize": Row.unique_size,
}


def rows(items: "list[dict[str, Any]]", options: "Options", source: str) -> list[Row]:
    """Return the rows of images. ``source``: the template, which may ask for digests."""
    wants_digest = options.digests or "{{.Digest}}" in source
    return [row for item in items for row in _rows_of(item, options, wants_digest=wants_digest)]


def _rows_of(item: "dict[str, Any]", options: "Options", *, wants_digest: bool) -> list[Row]:
    tags: dict[str, list[str]] = {}
    digests: dict[str, list[str]] = {}
    for name in item.get("RepoTags") or ():
        repository, colon, tag = name.rpartition(":")
        if colon and "/" not in tag and NONE not in {repository, tag}:
            tags.setdefault(familiar(repository), []).append(tag)
    for name in item.get("RepoDigests") or ():
        repository, at, digest = name.partition("@")
        if at and repository != NONE:
            digests.setdefault(familiar(repository), []).append(digest)
    if not tags and not digests:
        return [Row(item, options)]
    found: list[Row] = []
    for repository, names in tags.items():
        own = digests.pop(repository, []) if wants_digest else digests.pop(repository, [])[:0]
        found += [Row(item, options, repository, tag, digest) for tag in names for digest in own or [NONE]]
    for repository, own in digests.items():
        shown = own if options.digests else [""]
        found += [Row(item, options, repository, NONE, digest) for digest in shown]
    return found
