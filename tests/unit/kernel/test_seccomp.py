"""Compiled filters, run by an interpreter of the few BPF instructions that they use."""

import struct

import pytest

from sampan.kernel import seccomp
from sampan.kernel.seccomp import compile_filter, disassemble
from sampan.oci.spec import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall
from sampan.runtime.seccomp_profile import default_profile, resolve

if not seccomp.available():
    pytest.skip("libseccomp.so.2 is not installed", allow_module_level=True)

X86_64, X86 = 0xC000003E, 0x40000003
ALLOW, KILL_THREAD = 0x7FFF0000, 0
X32 = 0x40000000
ARCHITECTURES = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")


def errno_of(number: int) -> int:
    return 0x00050000 | number


def run(program: bytes, number: int, *args: int, arch: int = X86_64) -> int:
    """Return what ``program`` says to a system call."""
    data = struct.pack(
        "=iIQ6Q", number if number < 1 << 31 else number - (1 << 32), arch, 0, *args, *([0] * (6 - len(args)))
    )
    code = list(disassemble(program))
    at = accumulator = 0
    while True:
        operation, true, false, k = code[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif operation == 0x06:
            return k
        elif operation == 0x05:
            at += k
        elif operation == 0x54:
            accumulator &= k
        else:
            holds = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }
            at += true if holds[operation] else false


def profile(*rules: LinuxSyscall, default: str = "SCMP_ACT_ERRNO", errno: int | None = None) -> LinuxSeccomp:
    return LinuxSeccomp(default, errno, ARCHITECTURES, syscalls=rules)


def allow(*names: str, args: list[LinuxSeccompArg] | None = None) -> LinuxSyscall:
    return LinuxSyscall(names, "SCMP_ACT_ALLOW", None, args)


def test_allow_and_refuse() -> None:
    program = compile_filter(profile(allow("read", "statx"), errno=13))
    assert run(program, 0) == ALLOW
    assert run(program, 1) == errno_of(13)
    assert run(program, 3, arch=X86) == ALLOW  # read(2) of i386
    assert run(program, X32 | 0) == ALLOW
    assert run(program, 0, arch=0x12345) == KILL_THREAD


def test_calls_newer_than_the_profile_do_not_exist() -> None:
    program = compile_filter(profile(allow("read", "futex_waitv")))
    assert run(program, 449) == ALLOW
    assert run(program, 448) == errno_of(1)
    assert run(program, 450) == errno_of(38)
    assert run(program, 4000) == errno_of(38)
    assert run(program, 450, arch=X86) == errno_of(38)
    assert run(program, 0xFFFFFFFF) == errno_of(38)


def test_calls_newer_than_libseccomp() -> None:
    newest = LinuxSyscall(("mseal", "setxattrat", "no_such_call"), "SCMP_ACT_ALLOW")
    refused = LinuxSyscall(("listmount",), "SCMP_ACT_ERRNO", 95)
    program = compile_filter(profile(allow("read"), newest, refused))
    for arch in (X86_64, X86):
        assert run(program, 462, arch=arch) == ALLOW
        assert run(program, 463, arch=arch) == ALLOW
        assert run(program, 458, arch=arch) == errno_of(95)
        assert run(program, 459, arch=arch) == errno_of(1)
        assert run(program, 464, arch=arch) == errno_of(38)
    assert run(program, X32 | 462) == ALLOW
    assert run(program, 0) == ALLOW


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_KILL_PROCESS"])
def test_other_defaults_hold_for_every_number(default: str) -> None:
    program = compile_filter(profile(LinuxSyscall(("mkdir",), "SCMP_ACT_ERRNO", 5), default=default))
    assert run(program, 83) == errno_of(5)
    assert run(program, 4000) == run(program, 0) != errno_of(5)


def test_conditions() -> None:
    masked = LinuxSeccompArg(0, 0x7E020000, "SCMP_CMP_MASKED_EQ", 0)
    program = compile_filter(profile(allow("clone", args=[masked])))
    assert run(program, 56, 0x11) == ALLOW
    assert run(program, 56, 0x10000000) == errno_of(1)
    both = [LinuxSeccompArg(0, 2, "SCMP_CMP_EQ"), LinuxSeccompArg(1, 10, "SCMP_CMP_GE")]
    program = compile_filter(profile(allow("dup2", args=both)))
    assert run(program, 33, 2, 11) == ALLOW
    assert run(program, 33, 2, 9) == run(program, 33, 3, 11) == errno_of(1)


def test_conditions_on_one_argument_are_alternatives() -> None:
    either = [LinuxSeccompArg(0, 0, "SCMP_CMP_EQ"), LinuxSeccompArg(0, 8, "SCMP_CMP_EQ")]
    program = compile_filter(profile(allow("personality", args=either)))
    assert run(program, 135, 0) == run(program, 135, 8) == ALLOW
    assert run(program, 135, 9) == errno_of(1)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (LinuxSeccomp("SCMP_ACT_NONSENSE"), "invalid seccomp action"),
        (LinuxSeccomp("SCMP_ACT_ERRNO", None, ("SCMP_ARCH_PDP11",)), "unknown seccomp architecture"),
        (LinuxSeccomp("SCMP_ACT_ALLOW", 5), "errno value specified"),
        (profile(LinuxSyscall(("read",), "ALLOW")), "invalid seccomp action"),
        (profile(allow("read", args=[LinuxSeccompArg(0, 0, "==")])), "invalid seccomp operator"),
        (profile(allow("read", args=[LinuxSeccompArg(6, 0, "SCMP_CMP_EQ")])), "argument index"),
    ],
)
def test_nonsense_is_named(bad: LinuxSeccomp, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compile_filter(bad)


@pytest.mark.parametrize(("arch", "base"), [(X86_64, 0), (X86_64, X32), (X86, 0)])
def test_the_tree_says_what_a_list_says(monkeypatch: pytest.MonkeyPatch, arch: int, base: int) -> None:
    section = resolve(default_profile(), capabilities={"CAP_CHOWN"}, goarch="amd64", kernel=(6, 1))
    assert section is not None
    tree = compile_filter(section)
    monkeypatch.setattr(seccomp, "_BINARY_TREE", 1)
    a_list = compile_filter(section)
    for number in range(base, base + 470):
        for args in ((0,), (0x7E020000, 0xFFFFFFFF, 38)):  # clone, personality and socket look at theirs
            assert run(tree, number, *args, arch=arch) == run(a_list, number, *args, arch=arch)
