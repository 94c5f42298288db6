"""Platforms: what an image was made for, what a host can run, and which of several images fits best.

The rules are those of github.com/containerd/platforms, which Docker uses for ``--platform``.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Final, Self, TypeVar

import msgspec
from msgspec import field

from sampan.base.errors import InvalidParameter

_KNOWN_OS: Final = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris windows"
    " zos".split()
)
_KNOWN_ARCHITECTURES: Final = frozenset(
    "386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le mips64p32"
    " mips64p32le ppc riscv riscv64 s390 s390x sparc sparc64 wasm".split()
)
_MACHINES: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i686": "386",
    "i586": "386",
    "loongarch64": "loong64",
}
_ALNUM: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_SPECIFIER: Final = _ALNUM | frozenset("_.-")
_OS_NAME: Final = _ALNUM | frozenset("_-")
_OS_OPTION: Final = _ALNUM | frozenset("_.%-")
_ESCAPES: Final = {"%": "%25", "+": "%2B", "(": "%28", ")": "%29", "/": "%2F"}


class InvalidPlatform(InvalidParameter):
    """A text is no platform."""


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """A platform as descriptors and image configurations write it."""

    architecture: str = ""
    os: str = ""
    os_version: str = field(default="", name="os.version")
    os_features: tuple[str, ...] = field(default=(), name="os.features")
    variant: str = ""

    def __str__(self) -> str:
        """``os/architecture[/variant]``."""
        return "/".join(filter(None, (self.os, self.architecture, self.variant))) if self.os else "unknown"

    def long_text(self) -> str:
        """The text with OS version and features: ``windows(10.0.17763+win32k)/amd64``."""
        options = _escape(self.os_version) + "".join(
            "+" + _escape(feature) for feature in sorted(filter(None, self.os_features))
        )
        if not self.os or not options:
            return str(self)
        return "/".join(filter(None, (f"{self.os}({options})", self.architecture, self.variant)))

    def normalized(self) -> Self:
        """Return this platform in the form in which platforms are compared."""
        architecture, variant = _normalize_architecture(self.architecture, self.variant)
        return type(self)(
            architecture=architecture,
            os=_normalize_os(self.os),
            os_version=self.os_version,
            os_features=tuple(sorted(set(self.os_features))),
            variant=variant,
        )


def host() -> Platform:
    """Return the platform of this machine."""
    machine = os.uname().machine
    if machine.startswith("armv"):
        return Platform("arm", "linux", variant="v" + machine[4:5])
    return Platform(_MACHINES.get(machine, machine), "linux")


def parse_platform(text: str, *, local: Platform | None = None) -> Platform:
    """Parse ``os[(options)]``, ``architecture`` or ``os[(options)]/architecture[/variant]``.

    What a single word leaves open comes from ``local`` (default: this machine). Raises InvalidPlatform.
    """
    local = local or host()
    if "*" in text:
        raise InvalidPlatform(f'"{text}": wildcards not yet supported: invalid argument')
    parts = text.split("/", 3)
    system, version, features = _parse_os(parts[0], text)
    for part in parts[1:]:
        if not part or not _SPECIFIER.issuperset(part):
            raise InvalidPlatform(
                f'"{part}" is an invalid component of "{text}": platform specifier component must match '
                '"^[A-Za-z0-9_.-]+$": invalid argument'
            )
    if len(parts) == 1:
        if system in _KNOWN_OS:
            return Platform(local.architecture, system, version, features, local.variant)
        architecture, variant = _short_variant(*_normalize_architecture(parts[0], ""))
        if architecture not in _KNOWN_ARCHITECTURES:
            raise InvalidPlatform(f'"{text}": unknown operating system or architecture: invalid argument')
        return Platform(architecture, local.os, version, features, variant)
    if len(parts) == 2:
        architecture, variant = _short_variant(*_normalize_architecture(parts[1], ""))
        return Platform(architecture, system, version, features, variant)
    if len(parts) == 3:
        architecture, variant = _normalize_architecture(parts[1], parts[2])
        if architecture == "arm64" and not variant:
            variant = "v8"
        return Platform(architecture, system, version, features, variant)
    raise InvalidPlatform(f'"{text}": cannot parse platform specifier: invalid argument')


def _parse_os(part: str, whole: str) -> tuple[str, str, tuple[str, ...]]:
    name, bracket, options = part.partition("(")
    version, *features = options.removesuffix(")").split("+")
    if (
        not name
        or not _OS_NAME.issuperset(name)
        or (bracket and not options.endswith(")"))
        or not all(_OS_OPTION.issuperset(option) for option in (version, *features))
    ):
        raise InvalidPlatform(f'"{part}" is an invalid OS component of "{whole}": invalid argument')
    return _normalize_os(name), _unescape(version, whole), tuple(_unescape(item, whole) for item in features)


def _escape(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def _unescape(text: str, whole: str) -> str:
    first, *escaped = text.split("%")
    try:
        raw = first.encode() + b"".join(bytes.fromhex(p[:2].rjust(2, "?")) + p[2:].encode() for p in escaped)
        return raw.decode()
    except ValueError as error:
        raise InvalidPlatform(f'"{whole}" has an invalid OS option "{text}": invalid argument') from error


def _normalize_os(name: str) -> str:
    name = name.lower()
    return {"macos": "darwin", "": "linux"}.get(name, name)


def _normalize_architecture(architecture: str, variant: str) -> tuple[str, str]:
    architecture, variant = architecture.lower(), variant.lower()
    match architecture:
        case "i386":
            return "386", ""
        case "x86_64" | "x86-64" | "amd64":
            return "amd64", "" if variant == "v1" else variant
        case "aarch64" | "arm64":
            if variant in {"8", "v8", "v8.0"}:
                return "arm64", ""
            return "arm64", "v9" if variant in {"9", "9.0", "v9.0"} else variant
        case "armhf":
            return "arm", "v7"
        case "armel":
            return "arm", "v6"
        case "arm":
            return "arm", {"": "v7", "7": "v7", "5": "v5", "6": "v6", "8": "v8"}.get(variant, variant)
    return architecture, variant


def _short_variant(architecture: str, variant: str) -> tuple[str, str]:
    """Drop the variant that ``arm`` alone means."""
    return architecture, "" if (architecture, variant) == ("arm", "v7") else variant


T = TypeVar("T")


class PlatformMatcher:
    """Says which platforms are acceptable, and ranks several. Made by compatible, strict and same_os."""

    __slots__ = ("_any_architecture", "_wanted")

    def __init__(self, wanted: Sequence[Platform], *, any_architecture: bool = False) -> None:
        self._wanted = [platform.normalized() for platform in wanted]
        self._any_architecture = any_architecture

    def matches(self, platform: Platform) -> bool:
        """True if an image for ``platform`` will do."""
        candidate = platform.normalized()
        if self._any_architecture:
            return _same_system(self._wanted[0], candidate)
        return any(_same(wanted, candidate) for wanted in self._wanted)

    def best_first(self, items: Iterable[tuple[Platform, T]]) -> list[tuple[Platform, T]]:
        """Sort items by their platforms; equal ones keep their order. Those that do not match come last."""
        return sorted(items, key=lambda item: self._rank(item[0]))

    def _rank(self, platform: Platform) -> tuple[int, int]:
        candidate = platform.normalized()
        worst = len(self._wanted) + 1
        if self._any_architecture and not _same_system(self._wanted[0], candidate):
            return worst, 0
        for rank, wanted in enumerate(self._wanted):
            if _same(wanted, candidate):
                return rank, -len(platform.os_features)
        plain = msgspec.structs.replace(candidate, os_features=())
        for rank, wanted in enumerate(self._wanted):
            if _same(wanted, plain):
                return rank, 1  # right but for features that are not there
        return worst - 1, 0


def compatible(platform: Platform) -> PlatformMatcher:
    """Match what a host of ``platform`` can run, its own platform first (arm/v7 runs v6, amd64 runs 386)."""
    return PlatformMatcher(_runnable(platform.normalized()))


def strict(platform: Platform) -> PlatformMatcher:
    """Match ``platform`` alone, in whichever spelling."""
    return PlatformMatcher([platform])


def same_os(platform: Platform) -> PlatformMatcher:
    """Match every architecture of the OS of ``platform``, its own architecture first."""
    return PlatformMatcher([platform], any_architecture=True)


def _runnable(platform: Platform) -> list[Platform]:
    def like(architecture: str, variant: str) -> Platform:
        return msgspec.structs.replace(platform, architecture=architecture, variant=variant)

    number = _version_number(platform.variant)
    match platform.architecture:
        case "amd64":
            lower = [f"v{n}" for n in range((number or 1) - 1, 0, -1)]
            return [platform, *(like("amd64", variant) for variant in lower), like("386", "")]
        case "arm":
            lower = [f"v{n}" for n in range((number or 0) - 1, 4, -1)]
            return [platform, *(like("arm", variant) for variant in lower)]
        case "arm64":
            variants = _arm64_variants(platform.variant)
            if not variants:
                return [platform]
            arms = _runnable(like("arm", "v8"))  # every arm64 runs 32-bit code up to v8
            return [*(like("arm64", variant) for variant in variants), *arms]
    return [platform]


def _version_number(variant: str) -> int | None:
    digits = variant.removeprefix("v")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 4 else None


def _arm64_variants(variant: str) -> list[str]:
    """Return the variants that ``variant`` runs, newest first: v9.x contains v8.(x+5), v8 ends at v8.9."""
    major, _, minor_text = (variant or "v8").partition(".")
    minor = _version_number(minor_text or "0")
    if minor is None or (major, minor > 9) == ("v8", True) or (major, minor > 7) == ("v9", True):
        return []
    numbers = {"v8": [(8, minor)], "v9": [(9, minor), (8, min(minor + 5, 9))]}.get(major, [])
    return [
        f"v{number}.{step}" if step else f"v{number}"
        for number, newest in numbers
        for step in range(newest, -1, -1)
    ]


def _same(wanted: Platform, candidate: Platform) -> bool:
    if wanted.os == "windows":  # win32k says what is not Nano Server; hosts do not name it
        features = tuple(feature for feature in candidate.os_features if feature != "win32k")
        candidate = msgspec.structs.replace(candidate, os_features=features)
    return (
        wanted.architecture == candidate.architecture
        and wanted.variant == candidate.variant
        and _same_system(wanted, candidate)
    )


def _same_system(wanted: Platform, candidate: Platform) -> bool:
    return (
        wanted.os == candidate.os
        and set(candidate.os_features) <= set(wanted.os_features)
        and (wanted.os != "windows" or _windows_runs(wanted.os_version, candidate.os_version))
    )


_LTSC_2022: Final = 20348
_LTSC_2025: Final = 26100


def _windows_runs(host_version: str, image_version: str) -> bool:
    """True if Windows of ``host_version`` runs containers of ``image_version``; an unknown host runs all.

    Before Server 2022 builds must be equal; from there on a host runs those since the long-term release
    before its own (Microsoft, "Windows container version compatibility").
    """
    ours, theirs = _windows_build(host_version), _windows_build(image_version)
    if ours == (0, 0, 0) or not image_version:
        return True
    if ours[:2] != theirs[:2]:
        return False
    if ours[2] < _LTSC_2022:
        return ours[2] == theirs[2]
    oldest = _LTSC_2025 if ours[2] > _LTSC_2025 else _LTSC_2022
    return oldest <= theirs[2] <= ours[2]


def _windows_build(version: str) -> tuple[int, int, int]:
    parts = version.split(".")[:3]
    if len(parts) < 3 or not all(part.isascii() and part.isdecimal() and len(part) < 6 for part in parts):
        return 0, 0, 0
    return int(parts[0]), int(parts[1]), int(parts[2])
