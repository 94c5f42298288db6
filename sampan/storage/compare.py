"""What is different between two trees: the basis of ``docker diff`` and of new layers.

Two ways to find out give the same answer: ``compare_upper`` reads an overlay's upper directory and asks the
lower ones only for the names found there, ``compare_trees`` reads two whole trees. The rules are Docker's
(pkg/archive, changes.go): a directory is judged by owner and mode, anything else by length and time as well;
a directory in which something differs is itself reported; what is gone comes after its siblings.
"""

import os
import stat
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sampan.storage.driver import ChangeKind, Delta, Difference
from sampan.storage.marks import OVERLAY_MARKS, Marks
from sampan.storage.overlay import is_whiteout
from sampan.storage.tree import GONE, content_xattrs, list_at, open_at, stat_at

_CHUNK: Final = 1 << 20
_Entries = Sequence[tuple[bytes, os.stat_result]]


@dataclass(slots=True)
class _Level:
    """A directory that is being compared; ``old`` holds what the parent has there as far as it is listed."""

    path: bytes
    entries: Iterator[tuple[bytes, os.stat_result]]
    old: dict[bytes, os.stat_result] = field(default_factory=dict)
    below: bool = True  # the parent has a directory here
    opaque: bool = False  # and all of it is hidden unless it is listed here
    gone: list[bytes] = field(default_factory=list)


def compare_upper(upper: int, lower: int | None, marks: Marks = OVERLAY_MARKS) -> Iterator[Difference]:
    """Yield how the upper directory ``upper`` changes the tree ``lower`` (None: nothing is below)."""
    top = _Level(b"", iter(()), below=lower is not None)
    _read_upper(top, upper, lower, marks)
    stack = [top]
    while stack:
        level = stack[-1]
        for name, status in level.entries:
            path = level.path + b"/" + name
            old = _visible(lower, path) if level.below and lower is not None else None
            if not stat.S_ISDIR(status.st_mode):
                yield _difference(path, status, old, held=True)
            else:
                deeper, held = _Level(path, iter(()), below=False), True
                if old is not None and lower is not None and stat.S_ISDIR(old.st_mode):
                    deeper.below = True
                    deeper.opaque = level.opaque or marks.is_opaque(upper, path)
                    held = _directory_differs(upper, lower, path, status, old)
                _read_upper(deeper, upper, lower, marks)
                yield _difference(path, status, old, held=held)
                stack.append(deeper)
                break
        else:
            yield from _deletions(level.gone)
            stack.pop()


def compare_trees(new: int, old: int | None, *, ready_ns: int = 0) -> Iterator[Difference]:
    """Yield how the tree ``new`` differs from the tree ``old`` (None: the empty one).

    ``ready_ns`` is when ``new`` was a copy of ``old``, on the file system's clock: an entry with equal
    attributes whose ``st_ctime`` is older is the same without being read.
    """
    stack = [_pair(new, old, b"", below=old is not None)]
    while stack:
        level = stack[-1]
        for name, status in level.entries:
            path = level.path + b"/" + name
            before = level.old.get(name)
            if stat.S_ISDIR(status.st_mode):
                deeper, held = (
                    _pair(new, old, path, below=before is not None and stat.S_ISDIR(before.st_mode)),
                    True,
                )
                if deeper.below and old is not None and before is not None:
                    held = _directory_differs(new, old, path, status, before)
                yield _difference(path, status, before, held=held)
                stack.append(deeper)
                break
            difference = _difference(path, status, before, held=True)
            if difference.shown or (
                status.st_ctime_ns >= ready_ns
                and old is not None
                and before is not None
                and _content_differs(new, old, path, status, before)
            ):
                yield difference
        else:
            yield from _deletions(level.gone)
            stack.pop()


def root_difference(new: int, old: int | None) -> Difference:
    """Return how the root directories' own attributes differ; a root over nothing counts as different."""
    if old is None:
        return Difference(b"", ChangeKind.MODIFIED)
    status, before = os.fstat(new), os.fstat(old)
    looks = (status.st_mode, status.st_uid, status.st_gid) != (before.st_mode, before.st_uid, before.st_gid)
    held = _directory_differs(new, old, b"", status, before)
    return Difference(b"", ChangeKind.MODIFIED, shown=looks, held=held)


def changed_size(delta: Delta) -> int:
    """Return the lengths of all files that are new or changed in ``delta``, in bytes, hard links once."""
    size = 0
    linked: set[int] = set()
    for difference in delta.differences:
        if difference.kind is ChangeKind.DELETED or not difference.held:
            continue
        status = stat_at(delta.tree, difference.path)
        if status is None or stat.S_ISDIR(status.st_mode) or status.st_ino in linked:
            continue
        if status.st_nlink > 1:
            linked.add(status.st_ino)
        size += status.st_size
    return size


def shown_only(differences: Sequence[Difference]) -> list[Difference]:
    """Return what a list of changes shows: entries that look different, and the directories above them."""
    return _keep(differences, [d.shown for d in differences])


def held_only(differences: Sequence[Difference]) -> list[Difference]:
    """Return what a layer must hold: entries that are different, and the directories above them."""
    return _keep(differences, [d.held for d in differences])


def without(differences: Sequence[Difference], paths: Container[bytes]) -> list[Difference]:
    """Return ``differences`` with additions at ``paths`` counted only for what else is below them.

    Nor does a directory count in which such an addition has changed nothing but the time.
    """
    ignored = {d.path for d in differences if d.kind is ChangeKind.ADDED and d.path in paths}
    touched = {path.rpartition(b"/")[0] for path in ignored}
    return [
        Difference(d.path, d.kind, shown=False, held=False)
        if d.path in ignored or (d.path in touched and d.kind is ChangeKind.MODIFIED and not d.shown)
        else d
        for d in differences
    ]


def _keep(differences: Sequence[Difference], wanted: Sequence[bool]) -> list[Difference]:
    kept: list[Difference] = []
    for difference, want in zip(reversed(differences), reversed(wanted), strict=True):
        # what lies below a directory follows it at once: if any of it was kept, it was kept last
        if want or (kept and kept[-1].path.startswith(difference.path + b"/")):
            kept.append(difference)
    kept.reverse()
    return kept


def _read_upper(level: _Level, upper: int, lower: int | None, marks: Marks) -> None:
    """Fill ``level`` with what is in its directory of ``upper``, and with what the marks there take away."""
    entries, gone = marks.read(upper, level.path)
    level.entries = iter(entries)
    if not level.below or lower is None:
        return
    if level.opaque:
        level.gone = _missing(level.path, list_at(lower, level.path), entries)
    else:
        paths = (level.path + b"/" + name for name in gone)
        level.gone = [path for path in paths if _visible(lower, path) is not None]


def _pair(new: int, old: int | None, path: bytes, *, below: bool) -> _Level:
    entries = list_at(new, path)
    before = list_at(old, path) if below and old is not None else []
    level = _Level(path, iter(entries), dict(before), below=below)
    level.gone = _missing(path, before, entries)
    return level


def _missing(path: bytes, before: _Entries, after: _Entries) -> list[bytes]:
    present = {name for name, _ in after}
    return [path + b"/" + name for name, _ in before if name not in present]


def _deletions(paths: Iterable[bytes]) -> Iterator[Difference]:
    for path in sorted(paths):
        yield Difference(path, ChangeKind.DELETED)


def _visible(tree: int, path: bytes) -> os.stat_result | None:
    status = stat_at(tree, path)
    # a stack of one layer is looked at raw, and even a base layer may carry marks of deleted names
    return None if status is None or is_whiteout(status) else status


def _difference(path: bytes, new: os.stat_result, old: os.stat_result | None, *, held: bool) -> Difference:
    if old is None:
        return Difference(path, ChangeKind.ADDED)
    differs = (
        new.st_mode != old.st_mode
        or new.st_uid != old.st_uid
        or new.st_gid != old.st_gid
        or new.st_rdev != old.st_rdev
    )
    if not differs and not stat.S_ISDIR(new.st_mode):
        differs = new.st_size != old.st_size or new.st_mtime_ns != old.st_mtime_ns
    return Difference(path, ChangeKind.MODIFIED, shown=differs, held=differs or held)


def _directory_differs(
    new: int, old: int, path: bytes, status: os.stat_result, before: os.stat_result
) -> bool:
    return (
        status.st_mtime_ns != before.st_mtime_ns
        or (status.st_mode, status.st_uid, status.st_gid) != (before.st_mode, before.st_uid, before.st_gid)
        or _xattrs(new, path) != _xattrs(old, path)
    )


def _content_differs(new: int, old: int, path: bytes, status: os.stat_result, before: os.stat_result) -> bool:
    """Compare what equal attributes do not tell: links, extended attributes, link targets and data.

    Raises OSError if one of the entries has gone meanwhile.
    """
    if status.st_nlink != before.st_nlink or _xattrs(new, path) != _xattrs(old, path):
        return True
    if stat.S_ISLNK(status.st_mode):
        return _read_link(new, path) != _read_link(old, path)
    return stat.S_ISREG(status.st_mode) and _data_differs(new, old, path)


def _data_differs(new: int, old: int, path: bytes) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with (
        open(open_at(new, path, flags), "rb", buffering=0) as a,
        open(open_at(old, path, flags), "rb", buffering=0) as b,
    ):
        while True:
            piece = a.read(_CHUNK)
            if piece != b.read(_CHUNK):
                return True
            if not piece:
                return False


def _read_link(tree: int, path: bytes) -> bytes:
    fd = open_at(tree, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.readlink(b"", dir_fd=fd)
    finally:
        os.close(fd)


def _xattrs(tree: int, path: bytes) -> dict[str, bytes]:
    try:
        fd = open_at(tree, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in GONE:
            return {}
        raise
    try:
        return content_xattrs(fd)
    finally:
        os.close(fd)
