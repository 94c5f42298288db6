"""Compile a seccomp filter of a spec to the BPF program that the kernel runs.

libseccomp does the work; it is loaded when first needed. Two things that it cannot do are put in front of its
program, as runc does too: rules for system calls that are newer than the library, and ENOSYS instead of the
profile's EPERM for calls newer than the profile, so that C libraries fall back to older ones.

Sources: seccomp_init(3), seccomp_rule_add(3), linux/filter.h, linux/audit.h.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sampan.oci.spec import LinuxSeccomp, LinuxSyscall

_LIBRARY: Final = "libseccomp.so.2"
_ACTIONS: Final[Mapping[str, int]] = {  # linux/seccomp.h
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_DATA: Final = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
_OPERATORS: Final[Mapping[str, int]] = {  # enum scmp_compare
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_UNKNOWN: Final = -1  # __NR_SCMP_ERROR
_OPTIMIZE: Final = 8  # SCMP_FLTATR_CTL_OPTIMIZE
_BINARY_TREE: Final = 2
_ARGUMENTS: Final = 6
_X32_BIT: Final = 0x40000000
_X86_64: Final = 0xC000003E  # AUDIT_ARCH_X86_64
_X32: Final = 0x4000003E  # libseccomp's token; the kernel says AUDIT_ARCH_X86_64 for these calls
_X86: Final = 0x40000003
_AARCH64: Final = 0xC00000B7
_ARM: Final = 0x40000028
_PATCHED: Final = frozenset({_X86_64, _X32, _X86, _AARCH64, _ARM})

# From 424 on a call has the same number on each of these architectures (scripts/syscall.tbl).
_FIRST_COMMON: Final = 424
_COMMON: Final = (
    "pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig "
    "fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 process_madvise "
    "epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset landlock_add_rule "
    "landlock_restrict_self memfd_secret process_mrelease futex_waitv set_mempolicy_home_node cachestat "
    "fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount "
    "lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat "
    "listxattrat removexattrat open_tree_attr file_getattr file_setattr"
).split()
_NEWER: Final[Mapping[str, int]] = {name: _FIRST_COMMON + at for at, name in enumerate(_COMMON)}

# linux/bpf_common.h, linux/filter.h
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP: Final = 0x05
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER: Final = 0x25
_JUMP_NOT_LESS: Final = 0x35
_RETURN: Final = 0x06
_NUMBER_OFFSET: Final = 0  # struct seccomp_data
_ARCHITECTURE_OFFSET: Final = 4
_INSTRUCTION: Final = struct.Struct("=HBBI")


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (  # type: ignore[mutable-override]  # a tuple is as good as ctypes' list
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


class SeccompUnavailable(OSError):
    """libseccomp is not on this host."""


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise SeccompUnavailable(errno.ENOENT, str(error)) from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_release.restype = None
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_arch_native.restype = ctypes.c_uint32
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    ]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library


def available() -> bool:
    """Whether filters can be compiled here."""
    try:
        _library()
    except SeccompUnavailable:
        return False
    return True


def compile_filter(seccomp: LinuxSeccomp) -> bytes:
    """Return the program of ``seccomp`` as an array of ``struct sock_filter``; takes 5 to 10 ms.

    Names that neither libseccomp nor this module knows are passed over, as OCI runtimes do. Flags and the
    listener are not part of a program. Raises ValueError naming a bad action, operator, architecture or
    argument, and OSError when libseccomp is missing or gives up.
    """
    library = _library()
    default = _action(seccomp.default_action, seccomp.default_errno_ret)
    context = library.seccomp_init(default)
    if not context:
        raise OSError(errno.EINVAL, "seccomp_init failed", seccomp.default_action)
    try:
        # The kernel asks a program about every system call when it is installed. A list of comparisons
        # takes 1 ms for that, at each start and exec, a tree less than half. Before 2.5 there are only lists.
        library.seccomp_attr_set(context, _OPTIMIZE, _BINARY_TREE)
        architectures = {int(library.seccomp_arch_native())}
        for name in seccomp.architectures:
            token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            if not token:
                raise ValueError(f"unknown seccomp architecture {name}")
            _checked(library.seccomp_arch_add(context, token), name, ignore=errno.EEXIST)
            architectures.add(int(token))
        for rule in seccomp.syscalls:
            action = _action(rule.action, rule.errno_ret)
            if action != default:
                _add_rule(library, context, rule, action)
        program = _export(library, context)
    finally:
        library.seccomp_release(context)
    return _prologue(library, seccomp, architectures, default) + program


def _add_rule(library: ctypes.CDLL, context: int, rule: LinuxSyscall, action: int) -> None:
    comparisons = [
        _Comparison(_index(arg.index), _operator(arg.op), arg.value, arg.value_two) for arg in rule.args or ()
    ]
    indexes = [comparison.arg for comparison in comparisons]
    # Several conditions on one argument are alternatives, on different ones they all must hold (runc, crun)
    groups = [comparisons] if len(set(indexes)) == len(indexes) else [[c] for c in comparisons]
    arrays = [((_Comparison * len(group))(*group), len(group)) for group in groups]
    for name in rule.names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN:
            continue
        for array, length in arrays:
            _checked(library.seccomp_rule_add_array(context, action, number, length, array), name)


def _export(library: ctypes.CDLL, context: int) -> bytes:
    descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _checked(library.seccomp_export_bpf(context, descriptor), "export")
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Section:
    """What the prologue says about one architecture: actions of single numbers, and the last known number."""

    actions: Mapping[int, int]
    last: int

    def instructions(self, beyond: int | None) -> list[tuple[int, int, int, int]]:
        """Return code that expects the number loaded and falls out at its end when it has nothing to say."""
        code: list[tuple[int, int, int, int]] = []
        for number, action in self.actions.items():
            code += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, action)]
        if beyond is not None:
            code += [(_JUMP_GREATER, 0, 1, self.last), (_RETURN, 0, 0, beyond)]
        if self.actions:  # most calls are below the first of these: one step for them
            code.insert(0, (_JUMP_NOT_LESS, 0, len(code), min(self.actions)))
        return code


def _prologue(library: ctypes.CDLL, seccomp: LinuxSeccomp, architectures: set[int], default: int) -> bytes:
    """Return the code in front of libseccomp's; jumps are relative, so that one needs no change."""
    beyond = None
    if seccomp.default_action == "SCMP_ACT_ERRNO" and default & 0xFFFF != errno.ENOSYS:
        beyond = _ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS
    sections = {
        token: _section(library, seccomp, token, default)
        for token in sorted(architectures & _PATCHED, reverse=True)
    }
    bodies = {token: section.instructions(beyond) for token, section in sections.items()}
    if not any(bodies.values()):
        return b""
    code: list[tuple[int, int, int, int]] = []
    for token, body in bodies.items():
        if token == _X32:
            continue
        if token == _X86_64:
            x32 = bodies.get(_X32, [])
            # x32 calls say x86-64 as well, with a bit in the number
            body = [(_JUMP_NOT_LESS, 0, 1, _X32_BIT), (_JUMP, 0, 0, len(body) + 1), *body]
            body += [(_JUMP, 0, 0, len(x32)), *x32]
        block = [(_LOAD, 0, 0, _NUMBER_OFFSET), *body]
        code += [(_JUMP_EQUAL, 1, 0, token), (_JUMP, 0, 0, len(block) + 1), *block, (_JUMP, 0, 0, 0)]
    # the last instruction of each block leaves for the end, where libseccomp's program begins
    program = [(_LOAD, 0, 0, _ARCHITECTURE_OFFSET), *code]
    ends = [at for at, line in enumerate(program) if line == (_JUMP, 0, 0, 0)]
    for at in ends:
        program[at] = (_JUMP, 0, 0, len(program) - at - 1)
    return b"".join(_INSTRUCTION.pack(*line) for line in program)


def _section(library: ctypes.CDLL, seccomp: LinuxSeccomp, token: int, default: int) -> _Section:
    base = _X32_BIT if token == _X32 else 0
    actions: dict[int, int] = {}
    last = base
    for rule in seccomp.syscalls:
        action = _action(rule.action, rule.errno_ret)
        for name in rule.names:
            number = library.seccomp_syscall_resolve_name_arch(token, name.encode())
            if number == _UNKNOWN and name in _NEWER and not rule.args:
                number = base + _NEWER[name]
                if action != default:
                    actions.setdefault(number, action)
            last = max(last, number)
    return _Section(dict(sorted(actions.items())), last)


def disassemble(program: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield ``(code, jump if true, jump if false, operand)`` of each instruction."""
    yield from _INSTRUCTION.iter_unpack(program)


def _action(name: str, errno_ret: int | None) -> int:
    value = _ACTIONS.get(name)
    if value is None:
        raise ValueError(f"invalid seccomp action {name!r}")
    if name in _WITH_DATA:
        return value | ((errno.EPERM if errno_ret is None else errno_ret) & 0xFFFF)
    if errno_ret:
        raise ValueError(f"errno value specified for seccomp action {name}")
    return value


def _operator(name: str) -> int:
    value = _OPERATORS.get(name)
    if value is None:
        raise ValueError(f"invalid seccomp operator {name!r}")
    return value


def _index(index: int) -> int:
    if not 0 <= index < _ARGUMENTS:
        raise ValueError(f"invalid seccomp argument index {index}")
    return index


def _checked(result: int, what: str, *, ignore: int = 0) -> None:
    if result < 0 and -result != ignore:
        raise OSError(-result, f"libseccomp: {os.strerror(-result)}", what)
