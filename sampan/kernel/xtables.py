"""The old iptables (xtables, "legacy") as far as it concerns us: does its FORWARD chain drop by default.

nftables does not show these tables; the kernel answers for them by socket options only.
"""

import ctypes
import socket
import struct
from pathlib import Path
from typing import Final

from sampan.kernel.libc import check, libc

# linux/netfilter_ipv4/ip_tables.h, linux/netfilter/x_tables.h
_IPT_SO_GET_INFO: Final = 64
_IPT_SO_GET_ENTRIES: Final = 65
_INFO: Final = struct.Struct("=32sI5I5III")  # name, valid_hooks, hook_entry, underflow, num_entries, size
_ENTRIES_HEADER: Final = 40  # name, size, padding to eight
_ENTRY_TARGET: Final = 88  # offset of target_offset in struct ipt_entry
_TARGET_DATA: Final = 32  # struct xt_entry_target
_HOOK_FORWARD: Final = 2
_DROP: Final = -1  # -NF_DROP - 1
_NAMES: Final = Path("/proc/thread-self/net/ip_tables_names")


def in_use() -> bool:
    """Tell whether this network namespace has the table ``filter`` of the old iptables."""
    try:
        return "filter" in _NAMES.read_text().split()
    except OSError:  # the kernel has no such tables
        return False


def forward_drops() -> bool:
    """Tell whether the policy of the old FORWARD chain is DROP; the table must be in use. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        info = _INFO.unpack(_get(raw, _IPT_SO_GET_INFO, b"filter".ljust(_INFO.size, b"\0")))
        size, underflow = info[13], info[7 + _HOOK_FORWARD]
        request = struct.pack("=32sI", b"filter", size).ljust(_ENTRIES_HEADER + size, b"\0")
        entries = _get(raw, _IPT_SO_GET_ENTRIES, request)[_ENTRIES_HEADER:]
    # The policy is the verdict of the chain's last entry, its underflow.
    target = underflow + int(struct.unpack_from("=H", entries, underflow + _ENTRY_TARGET)[0])
    return bool(struct.unpack_from("=i", entries, target + _TARGET_DATA)[0] == _DROP)


def _get(raw: socket.socket, option: int, request: bytes) -> bytes:
    """Return what a socket option answers to ``request``, which has the size of the answer."""
    buffer = ctypes.create_string_buffer(request, len(request))
    length = ctypes.c_uint32(len(request))
    check(
        libc.getsockopt(raw.fileno(), socket.IPPROTO_IP, option, buffer, ctypes.byref(length)),
        "read the old iptables' table filter",
    )
    return buffer.raw[: length.value]
