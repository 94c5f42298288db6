"""Docker's seccomp profile and others in its form."""

import json
from typing import Any

import pytest
from support.facts import facts
from support.shared import shared

from sampan.base.errors import InvalidParameter
from sampan.kernel import seccomp
from sampan.oci.spec import LinuxSeccomp
from sampan.runtime.capabilities import DEFAULT as DEFAULT_CAPABILITIES
from sampan.runtime.capabilities import NAMES
from sampan.runtime.seccomp_profile import (
    DEFAULT,
    SeccompPrograms,
    default_profile,
    kernel_revision,
    parse_profile,
    resolve,
)


def comparable(section: LinuxSeccomp | None) -> list[Any]:
    assert section is not None
    rules = [(sorted(rule.names), rule.action, rule.errno_ret, rule.args) for rule in section.syscalls]
    return [section.default_action, section.default_errno_ret, list(section.architectures), rules]


@pytest.mark.parametrize("capabilities", [DEFAULT_CAPABILITIES, NAMES, (), ("CAP_SYS_ADMIN",)])
@pytest.mark.parametrize("goarch", ["amd64", "arm64", "s390x", "386", "riscv64"])
@pytest.mark.parametrize("kernel", [(3, 10), (4, 8), (6, 18)])
def test_default_equals_dockers(capabilities: tuple[str, ...], goarch: str, kernel: tuple[int, int]) -> None:
    dockers = parse_profile(shared("data/seccomp/default.json").read_text())
    ours = resolve(default_profile(), capabilities=capabilities, goarch=goarch, kernel=kernel)
    theirs = resolve(dockers, capabilities=capabilities, goarch=goarch, kernel=kernel)
    assert comparable(ours) == comparable(theirs)


def names(section: LinuxSeccomp | None) -> set[str]:
    assert section is not None
    return {name for rule in section.syscalls for name in rule.names}


def test_conditions() -> None:
    profile = parse_profile(shared("data/seccomp/conditional_include.json").read_text())
    plain = resolve(profile, capabilities=(), goarch="amd64", kernel=(6, 1))
    admin = resolve(profile, capabilities=("CAP_SYS_ADMIN", "CAP_SYSLOG"), goarch="amd64", kernel=(6, 1))
    assert names(plain) == {"chmod", "ptrace"}
    assert names(admin) == {"chmod", "syslog"}


def test_old_form() -> None:
    profile = parse_profile(shared("data/seccomp/default-old-format.json").read_text())
    section = resolve(profile, capabilities=(), goarch="amd64", kernel=(6, 1))
    assert section is not None
    assert list(section.architectures) == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert {"accept", "writev"} <= names(section)


def test_no_filter() -> None:
    assert resolve(parse_profile("{}"), capabilities=(), goarch="amd64", kernel=(6, 1)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "Decoding seccomp profile failed: "),
        ('{"syscalls": 5}', "Decoding seccomp profile failed: "),
        (
            '{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], '
            '"archMap": [{"architecture": "SCMP_ARCH_X86"}]}',
            "both 'architectures' and 'archMap' are specified in the seccomp profile",
        ),
        (
            '{"syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]}',
            "both 'name' and 'names' are specified in the seccomp profile",
        ),
        *(
            (
                json.dumps({"syscalls": [{"name": "a", "action": "x", "includes": {"minKernel": version}}]}),
                f'invalid kernel version: "{version}"',
            )
            for version in ("4", "4.x", "1.2.3", "0.0", "4.256")
        ),
    ],
)
def test_bad_profiles(text: str, words: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_profile(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("release", "revision"),
    [("6.1.0-18-amd64", (6, 1)), ("5.15", (5, 15)), ("4.19-rc3", (4, 19)), ("7", (7, 0))],
)
def test_kernel_revision(release: str, revision: tuple[int, int]) -> None:
    assert kernel_revision(release) == revision


@pytest.mark.skipif(not seccomp.available(), reason="libseccomp.so.2 is not installed")
def test_programs_are_made_once() -> None:
    programs = SeccompPrograms(facts())
    first = programs.program(DEFAULT, ["CAP_CHOWN", "CAP_KILL"])
    assert first
    assert programs.program(DEFAULT, ("CAP_KILL", "CAP_CHOWN")) is first
    assert programs.program(DEFAULT, ("CAP_SYS_ADMIN",)) != first


@pytest.mark.skipif(not seccomp.available(), reason="libseccomp.so.2 is not installed")
@pytest.mark.parametrize(
    "extra",
    [
        {"flags": ["SECCOMP_FILTER_FLAG_LOG"]},
        {"listenerPath": "/run/x.sock"},
        {"syscalls": [{"name": "mkdir", "action": "SCMP_ACT_NOTIFY"}]},
    ],
)
def test_what_only_the_runtime_can_do(extra: dict[str, Any]) -> None:
    text = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", **extra})
    programs = SeccompPrograms(facts())
    assert programs.program(text, ()) is None
    assert programs.section(text, ()) is not None


@pytest.mark.skipif(not seccomp.available(), reason="libseccomp.so.2 is not installed")
def test_profile_that_does_not_compile() -> None:
    with pytest.raises(InvalidParameter, match="invalid seccomp profile: invalid seccomp action"):
        SeccompPrograms(facts()).program('{"defaultAction": "SCMP_ACT_NO"}', ())
