"""Which program has a port: the answer to "address already in use"."""

import os
from pathlib import Path
from typing import Final

from sampan.kernel.links import IpAddress

_PROC: Final = Path("/proc")
_TABLES: Final = {"tcp": ("tcp", "tcp6"), "udp": ("udp", "udp6"), "sctp": ()}
_TCP_LISTEN: Final = "0A"


def find_holder(protocol: str, host: IpAddress, port: int) -> str:
    """Return ``": used by nginx (pid 12)"``, or "" if nobody can be named.

    Reads the socket tables of this network namespace and then the descriptors of every process, so it is
    for the error path only.
    """
    inodes = set()
    for table in _TABLES[protocol]:
        inodes |= _inodes(table, port, listening=protocol == "tcp")
    if not inodes:
        return ""
    targets = {f"socket:[{inode}]" for inode in inodes}
    for process in _PROC.iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid() and _holds(process, targets):
            try:
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            return f": used by {name} (pid {process.name})"
    return ""


def _inodes(table: str, port: int, *, listening: bool) -> set[str]:
    """Return the inodes of the sockets on local ``port`` in a table of proc_net_tcp(5)."""
    try:
        lines = (_PROC / "net" / table).read_text().splitlines()[1:]
    except OSError:
        return set()
    found = set()
    for line in lines:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and (not listening or fields[3] == _TCP_LISTEN):
            found.add(fields[9])
    return found - {"0"}


def _holds(process: Path, targets: set[str]) -> bool:
    try:
        with os.scandir(process / "fd") as descriptors:
            return any(os.readlink(entry.path) in targets for entry in descriptors)  # noqa: PTH115 - many
    except OSError:
        return False
