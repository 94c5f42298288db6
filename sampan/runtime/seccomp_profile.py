"""Seccomp profiles: Docker's default and those that users bring, resolved for one container and compiled.

A profile has conditions on capabilities, architecture and kernel; ``resolve`` turns it into the section of an
OCI spec. crun is given the compiled program instead, which saves it 7 ms at each start: ``SeccompPrograms``
keeps one for each profile and set of capabilities.
"""

import base64
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from sampan.base.errors import InvalidParameter
from sampan.kernel.host import HostFacts
from sampan.kernel.seccomp import compile_filter
from sampan.oci.spec import LinuxSeccomp, LinuxSeccompArg, LinuxSyscall

UNCONFINED: Final = "unconfined"
DEFAULT: Final = "builtin"
_DEFAULT_FILE: Final = Path(__file__).with_name("seccomp_default.json")
_KEPT: Final = 16
_ARCHITECTURES: Final = {  # GOARCH to libseccomp's names
    "amd64": "SCMP_ARCH_X86_64",
    "386": "SCMP_ARCH_X86",
    "arm64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
    "riscv64": "SCMP_ARCH_RISCV64",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
    "loong64": "SCMP_ARCH_LOONGARCH64",
}
_PROFILE_NAMES: Final = {"386": "x86", "loong64": "loongarch64"}  # GOARCH where profiles say otherwise


class _Profile(msgspec.Struct, rename="camel"):
    pass


class Condition(_Profile):
    """When a rule holds; several parts must hold together, ``minKernel`` is "4.8"."""

    caps: Sequence[str] | None = None
    arches: Sequence[str] | None = None
    min_kernel: str = ""


class Rule(_Profile):
    """A rule for calls; old profiles have one ``name``."""

    action: str
    names: Sequence[str] | None = None
    name: str = ""
    errno_ret: int | None = None
    args: Sequence[LinuxSeccompArg] | None = None
    includes: Condition | None = None
    excludes: Condition | None = None


class ArchitectureMap(_Profile):
    architecture: str
    sub_architectures: Sequence[str] | None = None


class Profile(_Profile):
    """A profile in Docker's JSON form."""

    default_action: str = ""
    default_errno_ret: int | None = None
    architectures: Sequence[str] | None = None
    arch_map: Sequence[ArchitectureMap] | None = None
    flags: Sequence[str] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: Sequence[Rule] | None = None


class _TableRule(msgspec.Struct):
    calls: list[str]
    with_: list[str] = msgspec.field(default_factory=list, name="with")
    without: list[str] = []
    on: list[str] = []
    not_on: list[str] = []
    since: str = ""
    argument: tuple[int, str, int] | None = None
    errno: int | None = None


class _Table(msgspec.Struct):
    """The layout of seccomp_default.json: capabilities, architectures and operators without their prefix."""

    default_errno: int
    architectures: dict[str, list[str]]
    always: list[str]
    rules: list[_TableRule]


def default_profile() -> Profile:
    """Return Docker's default profile."""
    table = msgspec.json.decode(_DEFAULT_FILE.read_bytes(), type=_Table)
    rules = [Rule("SCMP_ACT_ALLOW", table.always), *map(_table_rule, table.rules)]
    maps = [
        ArchitectureMap(f"SCMP_ARCH_{name}", [f"SCMP_ARCH_{sub}" for sub in subs])
        for name, subs in table.architectures.items()
    ]
    return Profile("SCMP_ACT_ERRNO", table.default_errno, arch_map=maps, syscalls=rules)


def _table_rule(row: _TableRule) -> Rule:
    arguments = None
    if row.argument is not None:
        index, operator, value = row.argument
        arguments = [LinuxSeccompArg(index, value, f"SCMP_CMP_{operator}")]
    return Rule(
        action="SCMP_ACT_ALLOW" if row.errno is None else "SCMP_ACT_ERRNO",
        names=row.calls,
        errno_ret=row.errno,
        args=arguments,
        includes=Condition([f"CAP_{name}" for name in row.with_], row.on, row.since),
        excludes=Condition([f"CAP_{name}" for name in row.without], row.not_on),
    )


def parse_profile(text: str) -> Profile:
    """Read a profile in Docker's JSON form.

    Raises InvalidParameter ("Decoding seccomp profile failed: …", and what contradicts itself).
    """
    try:
        profile = msgspec.json.decode(text, type=Profile)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from error
    if profile.architectures and profile.arch_map:
        raise InvalidParameter(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, "
            "use either 'architectures' or 'archMap'"
        )
    for rule in profile.syscalls or ():
        if rule.name and rule.names:
            raise InvalidParameter(
                "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'"
            )
        for condition in (rule.includes, rule.excludes):
            if condition is not None and condition.min_kernel:
                _version(condition.min_kernel)
    return profile


def resolve(
    profile: Profile, *, capabilities: Collection[str], goarch: str, kernel: tuple[int, int]
) -> LinuxSeccomp | None:
    """Return the rules of ``profile`` that hold for a container, or None if the profile asks for no filter.

    ``capabilities`` is the bounding set, ``kernel`` the host's version and major revision.
    """
    if not profile.default_action and not profile.syscalls:
        return None
    architectures = list(profile.architectures or ())
    native = _ARCHITECTURES.get(goarch)
    for entry in profile.arch_map or ():
        if entry.architecture == native:
            architectures += [entry.architecture, *(entry.sub_architectures or ())]
            break
    arch = _PROFILE_NAMES.get(goarch, goarch)

    rules = [
        LinuxSyscall(rule.names or [rule.name], rule.action, rule.errno_ret, rule.args or None)
        for rule in profile.syscalls or ()
        if _applies(rule, capabilities, arch, kernel)
    ]
    return LinuxSeccomp(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=architectures,
        flags=profile.flags or (),
        listener_path=profile.listener_path,
        listener_metadata=profile.listener_metadata,
        syscalls=rules,
    )


def _applies(rule: Rule, capabilities: Collection[str], arch: str, kernel: tuple[int, int]) -> bool:
    if (excluded := rule.excludes) is not None and (
        arch in (excluded.arches or ())
        or any(name in capabilities for name in excluded.caps or ())
        or (excluded.min_kernel and kernel >= _version(excluded.min_kernel))
    ):
        return False
    return (included := rule.includes) is None or bool(
        (not included.arches or arch in included.arches)
        and all(name in capabilities for name in included.caps or ())
        and (not included.min_kernel or kernel >= _version(included.min_kernel))
    )


class SeccompPrograms:
    """Filters ready for specs, kept for each profile and set of capabilities. Safe to use from threads."""

    def __init__(self, facts: HostFacts) -> None:
        self._goarch = facts.goarch
        self._kernel = kernel_revision(facts.kernel_version)
        self._sections = lru_cache(maxsize=_KEPT)(self._resolve)
        self._programs = lru_cache(maxsize=_KEPT)(self._compile)

    def section(self, profile: str, capabilities: Iterable[str]) -> LinuxSeccomp | None:
        """Return the section of a spec for ``profile`` (JSON text, or DEFAULT); None: no filter."""
        return self._sections(profile, frozenset(capabilities))

    def program(self, profile: str, capabilities: Iterable[str]) -> str | None:
        """Return the compiled filter in base64, or None where only the section can say it.

        That is so for a profile with flags or a listener, and for one without a filter. Raises
        InvalidParameter for a profile that cannot be compiled, OSError without libseccomp.
        """
        return self._programs(profile, frozenset(capabilities))

    def _resolve(self, profile: str, capabilities: frozenset[str]) -> LinuxSeccomp | None:
        parsed = default_profile() if profile == DEFAULT else parse_profile(profile)
        return resolve(parsed, capabilities=capabilities, goarch=self._goarch, kernel=self._kernel)

    def _compile(self, profile: str, capabilities: frozenset[str]) -> str | None:
        section = self._resolve(profile, capabilities)
        if section is None or section.flags or section.listener_path or _notifies(section):
            return None
        try:
            return base64.b64encode(compile_filter(section)).decode()
        except ValueError as error:
            raise InvalidParameter(f"invalid seccomp profile: {error}") from error


@lru_cache(maxsize=1)
def kernel_revision(release: str) -> tuple[int, int]:
    """Return version and major revision of a kernel release: ``6.1.0-18-amd64`` is (6, 1)."""
    numbers = []
    for part in release.split(".")[:2]:
        digits = part[: next((at for at, character in enumerate(part) if not character.isdigit()), len(part))]
        numbers.append(int(digits or "0"))
    return (numbers[0], numbers[1] if len(numbers) > 1 else 0)


def _notifies(section: LinuxSeccomp) -> bool:
    return any(rule.action == "SCMP_ACT_NOTIFY" for rule in section.syscalls)


def _version(text: str) -> tuple[int, int]:
    parts = text.split(".")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts):
        raise InvalidParameter(f'invalid kernel version: "{text}", expected "<kernel>.<major>"')
    kernel, major = map(int, parts)
    if not kernel and not major:
        raise InvalidParameter(
            f'invalid kernel version: "{text}", expected "<kernel>.<major>": version cannot be 0.0'
        )
    return kernel, major
