"""Directory trees as plain values, to be compared in tests."""

import os
import stat
from pathlib import Path
from typing import Any

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}


def describe(root: Path, *, times: bool = True) -> dict[str, dict[str, Any]]:
    """Return all that is below ``root``: ``{path: {type, mode, uid, gid, text | to | device, xattrs, …}}``.

    ``links`` names the first path that shares the inode. Without ``times`` there is no ``mtime_ns``.
    """
    found: dict[str, dict[str, Any]] = {}
    first: dict[int, str] = {}
    for place, dirs, files in os.walk(root):
        dirs.sort()
        for name in sorted(dirs + files):
            full = Path(place, name)
            path = str(full.relative_to(root))
            status = os.lstat(full)
            kind = _KINDS[stat.S_IFMT(status.st_mode)]
            entry: dict[str, Any] = {"type": kind, "uid": status.st_uid, "gid": status.st_gid}
            if kind != "link":
                entry["mode"] = f"{stat.S_IMODE(status.st_mode):04o}"
            if kind == "file":
                entry["text"] = full.read_bytes().decode(errors="backslashreplace")
            elif kind == "link":
                entry["to"] = str(full.readlink())
            elif kind in ("char", "block"):
                entry["device"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
            if kind != "dir" and status.st_nlink > 1 and first.setdefault(status.st_ino, path) != path:
                entry["links"] = first[status.st_ino]
            xattrs = {
                key: os.getxattr(full, key, follow_symlinks=False).hex()
                for key in os.listxattr(full, follow_symlinks=False)
                if key != "security.selinux"
            }
            if xattrs:
                entry["xattrs"] = xattrs
            if times:
                entry["mtime_ns"] = status.st_mtime_ns
            found[path] = entry
    return dict(sorted(found.items()))
