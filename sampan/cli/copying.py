"""What ``cp`` copies where: pure rules about paths, as Docker's client has them (moby/go-archive, copy.go).

The end of a path means something: ``dir/`` asserts a directory, ``dir/.`` means what is in it.
"""

import posix
import stat
from posixpath import basename, dirname, normpath

from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_LINKS = 10


class Place:
    """One end of a copy. ``rename``: the name that its entries get instead of the path's last part."""

    __slots__ = ("exists", "is_dir", "path", "rename")

    def __init__(self, path: str, *, exists: bool = False, is_dir: bool = False, rename: str = "") -> None:
        self.path = path
        self.exists = exists
        self.is_dir = is_dir
        self.rename = rename


def split_argument(text: str) -> tuple[str, str]:
    """Return container ("": a local path) and path of an argument of ``cp``."""
    if text.startswith("/"):
        return "", text
    container, colon, path = text.partition(":")
    return ("", text) if not colon or container.startswith(".") else (container, path)


def means_contents(path: str) -> bool:
    """Whether ``path`` ends in ``.``: what is in the directory."""
    return path.rpartition("/")[2] == "."


def split_entry(path: str) -> tuple[str, str]:
    """Return the directory that ``path`` is in and its name there; ``dir/.`` is ``.`` in ``dir``."""
    clean = normpath(path)
    if means_contents(path):
        return clean, "."
    return dirname(clean) or ".", base(clean)


def base(path: str) -> str:
    """Return the last part of ``path``, as Go does: ``/`` for the root, ``.`` for nothing."""
    if not path:
        return "."
    return basename(path.rstrip("/")) or "/"


def keep_end(clean: str, original: str) -> str:
    """Return ``clean`` with the end of ``original`` that means something."""
    if means_contents(original) and not means_contents(clean):
        clean = clean.rstrip("/") + "/."
    if original.endswith("/") and not clean.endswith("/"):
        clean += "/"
    return clean


def local_path(path: str, here: str) -> str:
    """Return an absolute path from ``path``, relative to ``here``."""
    joined = path if path.startswith("/") else f"{here}/{path}"
    return keep_end(normpath(joined), path)


def rename_for(path: str, resolved: str) -> tuple[str, str]:
    """Return ``resolved``, which ``path`` led to, with the end of ``path``, and the name to go by."""
    if means_contents(path) and not means_contents(resolved):
        resolved += "/."
    if path.endswith("/") and not resolved.endswith("/"):
        resolved += "/"
    return resolved, base(path) if base(path) != base(resolved) else ""


def plan_target(source: Place, target: Place) -> tuple[str, str, str]:
    """Return the directory to extract into, and the names to change from and to ("": none are changed).

    Raises CommandError for what cannot be.
    """
    if target.exists and target.is_dir:
        return target.path, "", ""
    if target.exists and source.is_dir:
        raise CommandError("cannot copy directory")
    if not target.exists and not source.is_dir and target.path.endswith(("/", "/.")):
        raise CommandError("no such directory")
    directory, new = split_entry(target.path)
    old = source.rename or split_entry(source.path)[1]
    return directory, old, new


def renamed(name: str, old: str, new: str) -> str:
    """Return the name of an archive's entry with its first ``old`` made ``new``."""
    return name.replace("" if old == "/" else old, new, 1)


def find_target(path: str) -> Place:
    """Return the local place ``path``, links followed; it need not exist, the directory above it must."""
    place = path
    for _ in range(_MAX_LINKS + 1):
        try:
            status = posix.lstat(place)
        except FileNotFoundError:
            above = split_entry(place)[0]
            if not stat.S_ISDIR(_told(posix.stat, above).st_mode):
                raise CommandError("not a directory") from None
            return Place(place)
        except OSError as error:
            raise _failure("lstat", place, error) from error
        if not stat.S_ISLNK(status.st_mode):
            return Place(place, exists=True, is_dir=stat.S_ISDIR(status.st_mode))
        target = posix.readlink(place)
        place = target if target.startswith("/") else normpath(f"{split_entry(place)[0]}/{target}")
    raise CommandError(f"too many symlinks in {path}")


def find_source(path: str, *, follow: bool) -> Place:
    """Return the local place ``path`` to copy from; ``follow``: what a link leads to, under its name."""
    from posixpath import realpath

    _told(posix.lstat, path)
    if follow:
        resolved, rename = rename_for(path, realpath(path))
    else:
        above, _, name = path.rpartition("/")
        resolved = f"{realpath(above or '/').rstrip('/')}/{name}"
        rename = base(path) if path.endswith("/") and base(path) != base(resolved) else ""
    status = _told(posix.lstat, resolved)
    return Place(resolved, exists=True, is_dir=stat.S_ISDIR(status.st_mode), rename=rename)


def check_output(path: str) -> None:
    """Raise CommandError if nothing can be written at the local ``path``."""
    above = dirname(normpath(path))
    try:
        if above not in ("", "."):
            posix.stat(above)
    except FileNotFoundError:
        raise CommandError(f'invalid output path: directory "{above}" does not exist') from None
    try:
        mode = posix.stat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failure("stat", path, error) from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        kind = "got a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else ""
        if kind:
            text = f'invalid output path: "{path}" must be a directory or a regular file: {kind}'
            raise CommandError(text)


def _told(call: "Callable[[str], posix.stat_result]", path: str) -> "posix.stat_result":
    try:
        return call(path)
    except OSError as error:
        raise _failure(call.__name__, path, error) from error


def _failure(call: str, path: str, error: OSError) -> CommandError:
    return CommandError(f"{call} {path}: {(error.strerror or '').lower()}")
