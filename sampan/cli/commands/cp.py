"""``cp``: files between a container and the local file system."""

import posix
import time

from sampan.base.errors import EngineError
from sampan.base.units import human_size
from sampan.cli.app import STDERR, STDIN, STDOUT, encode, write
from sampan.cli.copying import (
    Place,
    check_output,
    find_source,
    find_target,
    local_path,
    plan_target,
    rename_for,
    renamed,
    split_argument,
    split_entry,
)
from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

# io/fs.FileMode of Go's library
_GO_DIRECTORY: "Final" = 1 << 31
_GO_SYMLINK: "Final" = 1 << 27
_GO_DEVICE: "Final" = 1 << 26
_GO_IRREGULAR: "Final" = 1 << 19
_BETWEEN_S: "Final" = 0.075


def copy(app: "App", parsed: "Parsed") -> None:
    """Copy from a container or into one; ``-`` is a tar archive on the standard streams."""
    source, target = parsed.args
    if not source:
        raise CommandError("source can not be empty")
    if not target:
        raise CommandError("destination can not be empty")
    from_container, source = split_argument(source)
    to_container, target = split_argument(target)
    if from_container and to_container:
        raise CommandError("copying between containers is not supported")
    if not from_container and not to_container:
        raise CommandError("must specify at least one container source")
    flags = parsed.flags
    quiet = flags["quiet"] if "quiet" in flags else not posix.isatty(STDOUT)
    if from_container:
        _copy_out(app, from_container, source, target, follow=flags["follow-link"], quiet=quiet)
    else:
        _copy_in(app, to_container, source, target, parsed, quiet=quiet)


class Progress:
    """Counts what was copied and, on a terminal, shows it. ``quiet``: nothing is ever written."""

    def __init__(self, app: "App", header: str, *, quiet: bool) -> None:
        self._app = app
        self._header = header
        self._quiet = quiet
        self._shows = not quiet and posix.isatty(STDERR)
        self._next = 0.0
        self.total = 0
        if self._shows:
            write(STDERR, b"\x1b7Preparing to copy...")

    def add(self, count: int) -> None:
        """Take note of ``count`` more bytes."""
        self.total += count
        if self._shows and time.monotonic() >= self._next:
            self._next = time.monotonic() + _BETWEEN_S
            write(STDERR, encode(f"\x1b8\x1b[2K{self._header}{human_size(self.total, 3)}"))

    def restore(self) -> None:
        """Take the line away again."""
        if self._shows:
            write(STDERR, b"\x1b8\x1b[2K")
            self._shows = False

    def end(self, target: str) -> None:
        """Say that all of it was copied."""
        self.restore()
        if not self._quiet:
            self._app.err(f"Successfully copied {human_size(self.total, 3)} to {target}")


def _copy_out(app: "App", container: str, source: str, target: str, *, follow: bool, quiet: bool) -> None:
    from sampan.cli.tarfiles import Pieces, unpack

    if target != "-":
        target = local_path(target, posix.getcwd())
        check_output(target)
    rename = ""
    if follow:
        source, rename = _followed(app, container, source)
    stat, archive = app.client.read_archive(container, source)
    if target == "-":
        archive.copy_to(STDOUT)
        return
    place = Place(source, exists=True, is_dir=bool(stat["mode"] & _GO_DIRECTORY), rename=rename)
    directory, old, new = plan_target(place, find_target(target))
    if rename:
        # the archive has the name that the link leads to
        name = split_entry(source)[1]
        old, new = name, renamed(rename, old, new) if old or new else rename
    progress = Progress(app, "Copying from container - ", quiet=quiet)
    try:
        unpack(Pieces(iter(archive), progress.add), directory, old, new)
    finally:
        progress.restore()
    progress.end(target)


def _followed(app: "App", container: str, path: str) -> tuple[str, str]:
    """Return what the link ``path`` of a container leads to, and the name to go by; else itself."""
    try:
        stat = app.client.stat_path(container, path)
    except EngineError:
        return path, ""
    if not stat["mode"] & _GO_SYMLINK:
        return path, ""
    return rename_for(path, _joined(path, stat["linkTarget"]))


def _joined(path: str, link: str) -> str:
    return link if link.startswith("/") else f"{split_entry(path)[0].rstrip('/')}/{link}"


def _copy_in(app: "App", container: str, source: str, target: str, parsed: "Parsed", *, quiet: bool) -> None:
    place = _container_target(app, container, target)
    own = parsed.flags["archive"]
    if source == "-":
        if not place.is_dir:
            raise CommandError(f'destination "{container}:{target}" must be a directory')
        progress = Progress(app, "Copying to container - ", quiet=True)
        app.client.write_archive(container, place.path, STDIN, own=own)
        return
    from sampan.cli.tarfiles import pack

    found = find_source(local_path(source, posix.getcwd()), follow=parsed.flags["follow-link"])
    directory, old, new = plan_target(found, place)
    progress = Progress(app, "Copying to container - ", quiet=quiet)
    try:
        pieces = _counted(pack(found, old, new), progress)
        app.client.write_archive(container, directory, pieces, own=own)
    finally:
        progress.restore()
    progress.end(f"{container}:{place.path}")


def _container_target(app: "App", container: str, path: str) -> Place:
    """Return the place ``path`` in a container; a link is followed. What is not there may come to be."""
    place = Place(path)
    try:
        stat = app.client.stat_path(container, path)
        if stat["mode"] & _GO_SYMLINK:
            place.path = _joined(path, stat["linkTarget"])
            stat = app.client.stat_path(container, place.path)
    except EngineError:
        return place
    for bit, reason in ((_GO_DEVICE, "got a device"), (_GO_IRREGULAR, "got an irregular file")):
        if stat["mode"] & bit:
            raise CommandError(
                f'destination "{container}:{path}" must be a directory or a regular file: {reason}'
            )
    place.exists, place.is_dir = True, bool(stat["mode"] & _GO_DIRECTORY)
    return place


def _counted(pieces: "Iterator[bytes]", progress: Progress) -> "Iterator[bytes]":
    for piece in pieces:
        progress.add(len(piece))
        yield piece
