"""Base images from the host distribution's packages, for machines without a registry.

``busybox`` is Debian's static busybox with its applets linked: the same package gives the same image, byte
for byte. ``debian[:SUITE]`` is a minimal Debian by mmdebstrap, cut as slim as Docker's. Both say in their
labels and history what they are made of and how. ``SOURCE_DATE_EPOCH`` sets the time of all that is in them.
"""

import os
import shlex
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from sampan.base import times
from sampan.base.errors import HostFailure, InvalidParameter, NotImplementedHere
from sampan.base.threads import blocking
from sampan.images.content import ContentStore, Hold, Ingest
from sampan.images.errors import InvalidArchive
from sampan.images.install import NewImage, NewLayer
from sampan.images.planned import StoredBlob
from sampan.images.progress import stream_line
from sampan.images.tools import need, run
from sampan.kernel.fs import remove_tree
from sampan.oci.config import check_config, parse_config
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.manifest import render_manifest
from sampan.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference, parse_normalized
from sampan.storage.tar_header import DIRECTORY, FILE, SYMBOLIC_LINK, Entry, encode, padding
from sampan.wire.system import Progress

KINDS: Final = ("busybox", "debian")
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PLATFORMS: Final = {  # Debian's architectures
    "amd64": Platform("amd64", "linux"),
    "arm64": Platform("arm64", "linux", variant="v8"),
    "armel": Platform("arm", "linux", variant="v5"),
    "armhf": Platform("arm", "linux", variant="v7"),
    "i386": Platform("386", "linux"),
    "mips64el": Platform("mips64le", "linux"),
    "ppc64el": Platform("ppc64le", "linux"),
    "riscv64": Platform("riscv64", "linux"),
    "s390x": Platform("s390x", "linux"),
}
_SUITE: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_PASSWD: Final = b"""root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
_GROUP: Final = b"""root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
mail:x:8:
www-data:x:33:
users:x:100:
nobody:x:65534:
"""
_HOSTS: Final = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
# What Docker's debian:*-slim leaves out (debuerreotype, .slimify-excludes).
_SLIM: Final = (
    "path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*", "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/groff/*", "path-exclude=/usr/share/lintian/*", "path-exclude=/usr/share/linda/*",
    "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright",
)  # fmt: skip
_TIDY: Final = (
    'rm -rf "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/var/cache/apt/*.bin "$1"/var/lib/apt/lists/*',
    'rm -rf "$1"/var/log/*.log "$1"/var/log/apt/* "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old',
    'rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap',
)


@dataclass(frozen=True, slots=True)
class Base:
    """A base image that was made: its layer is a blob already."""

    title: str
    version: str
    names: Sequence[Reference]
    platform: Platform
    created_ns: int
    command: Sequence[str]
    labels: dict[str, str]
    steps: Sequence[str]
    layer: Digest
    size: int


@dataclass(slots=True)
class Workshop:
    """Where a base image is made: a folder, the content store, and somebody who listens."""

    content: ContentStore
    hold: Hold
    progress: Callable[[Progress], None]
    folder: Path = field(init=False)

    def __enter__(self) -> "Workshop":
        self.folder = self.content.temporary_folder()
        return self

    def __exit__(self, *error: object) -> None:
        remove_tree(self.folder)

    def say(self, text: str) -> None:
        """Tell the listener."""
        self.progress(stream_line(text))


async def make(spec: str, workshop: Workshop) -> Base:
    """Make the base image ``spec``: ``busybox``, ``debian`` or ``debian:SUITE``.

    Raises InvalidParameter for another name, NotImplementedHere for a host without the tools, HostFailure if
    they fail.
    """
    kind, colon, suite = spec.partition(":")
    if kind == "busybox" and not colon:
        return await _busybox(workshop)
    if kind == "debian" and (not colon or (suite and _SUITE.issuperset(suite))):
        return await _debian(workshop, suite)
    raise InvalidParameter(f'cannot bootstrap "{spec}": say busybox, debian or debian:SUITE')


def describe(base: Base, workshop: Workshop) -> NewImage:
    """Return the image of ``base``, its configuration and manifest written. Blocking."""
    created = times.format_ns(base.created_ns)
    steps = [
        {"created": created, "created_by": step, **({"empty_layer": True} if number else {})}
        for number, step in enumerate(base.steps)
    ]
    document = msgspec.json.encode(
        {
            "architecture": base.platform.architecture,
            **({"variant": base.platform.variant} if base.platform.variant else {}),
            "os": base.platform.os,
            "created": created,
            "config": {
                "Env": [_PATH],
                "Cmd": list(base.command),
                "Labels": {
                    "org.opencontainers.image.title": base.title,
                    "org.opencontainers.image.version": base.version,
                    "org.opencontainers.image.created": created,
                    **base.labels,
                },
            },
            "rootfs": {"type": "layers", "diff_ids": [str(base.layer)]},
            "history": steps,
        }
    )
    check_config(document)
    layer = Descriptor(OCI_LAYER, str(base.layer), base.size)
    manifest = render_manifest(Descriptor(OCI_CONFIG, str(Digest.of(document)), len(document)), [layer])
    workshop.hold.add(Digest.of(manifest))
    kept = workshop.content.add(manifest)
    return NewImage(
        document,
        parse_config(document),
        [NewLayer(base.layer, StoredBlob(workshop.content, base.layer, base.size), OCI_LAYER)],
        Descriptor(OCI_MANIFEST, str(kept), len(manifest)),
    )


# --- busybox ---


@dataclass(frozen=True, slots=True)
class _Package:
    """A Debian package as the host's tools describe it."""

    name: str
    version: str
    architecture: str
    distribution: str

    @property
    def url(self) -> str:
        """The package URL (purl)."""
        return f"pkg:deb/{self.distribution}/{self.name}@{self.version}?arch={self.architecture}"


async def _busybox(workshop: Workshop) -> Base:
    purpose = "bootstrap busybox"
    query = need("dpkg-query", "dpkg", purpose)
    program = await _installed_busybox(query)
    if program is None:
        program = await _fetched_busybox(workshop, purpose)
    path, package = program
    platform = _platform(package.architecture, purpose)
    workshop.say(f"Linking the applets of {package.name} {package.version} ({package.architecture})")
    applets = (await run(path, "--list-full")).decode().split()
    seconds = _epoch(int(Path(path).stat().st_mtime))
    layer, size = await blocking(_write_busybox, workshop, path, applets, seconds)
    version = package.version.partition(":")[2] or package.version
    return Base(
        title="busybox",
        version=version.partition("-")[0],
        names=[parse_normalized("busybox").with_default_tag()],
        platform=platform,
        created_ns=seconds * 10**9,
        command=["sh"],
        labels={
            "org.opencontainers.image.description": f"{package.name} {package.version}, applets linked",
            "org.opencontainers.image.source": package.url,
            "org.opencontainers.image.licenses": "GPL-2.0-only",
        },
        steps=[
            f"sampan image bootstrap busybox # /bin/busybox of {package.name}={package.version}, "
            f"{len(applets)} applets linked",
            'CMD ["sh"]',
        ],
        layer=layer,
        size=size,
    )


async def _installed_busybox(query: str) -> tuple[str, _Package] | None:
    """Return the host's own static busybox, if it is Debian's package."""
    for path in ("/bin/busybox", "/usr/bin/busybox"):
        if not await blocking(_is_static, path):
            continue
        try:
            text = await run(query, "-W", "-f=${Version} ${Architecture}", "busybox-static")
        except HostFailure:
            return None
        version, _, architecture = text.decode().partition(" ")
        if version and architecture:
            return path, _Package("busybox-static", version, architecture.strip(), _distribution())
    return None


async def _fetched_busybox(workshop: Workshop, purpose: str) -> tuple[str, _Package]:
    """Fetch the package without installing it."""
    apt = need("apt-get", "apt", purpose)
    deb = need("dpkg-deb", "dpkg", purpose)
    workshop.say("Fetching the package busybox-static")
    await run(apt, "download", "-q", "busybox-static", folder=str(workshop.folder))
    found = sorted(workshop.folder.glob("busybox-static_*.deb"))
    if not found:
        raise HostFailure("apt-get downloaded no package busybox-static")
    fields = await run(deb, "-f", str(found[0]), "Version", "Architecture")
    values = dict(line.split(": ", 1) for line in fields.decode().splitlines() if ": " in line)
    tree = workshop.folder / "package"
    await run(deb, "-x", str(found[0]), str(tree))
    for path in ("bin/busybox", "usr/bin/busybox"):
        if await blocking(_is_static, str(tree / path)):
            package = _Package("busybox-static", values["Version"], values["Architecture"], _distribution())
            return str(tree / path), package
    raise HostFailure(f"{found[0].name} holds no static busybox")


def _is_static(path: str) -> bool:
    """True for a 64-bit or 32-bit ELF program that asks for no interpreter."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(64)
            if head[:4] != b"\x7fELF":
                return False
            order = "<" if head[5] == 1 else ">"
            if head[4] == 2:
                (offset,) = struct.unpack_from(order + "Q", head, 32)
                size, count = struct.unpack_from(order + "HH", head, 54)
            else:
                (offset,) = struct.unpack_from(order + "I", head, 28)
                size, count = struct.unpack_from(order + "HH", head, 42)
            file.seek(offset)
            table = file.read(size * count)
    except (OSError, struct.error):
        return False
    kinds = [struct.unpack_from(order + "I", table, at)[0] for at in range(0, len(table), size or 1)]
    return bool(kinds) and 3 not in kinds  # PT_INTERP (elf.h)


def _write_busybox(workshop: Workshop, path: str, applets: Sequence[str], seconds: int) -> tuple[Digest, int]:
    """Write the layer: entries sorted, owned by root, all of one time."""
    nanoseconds = seconds * 10**9
    content = Path(path).read_bytes()
    folders = {
        "bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "lib": 0o755, "mnt": 0o755, "proc": 0o555,
        "root": 0o700, "run": 0o755, "sbin": 0o755, "sys": 0o555, "tmp": 0o1777, "usr": 0o755,
        "usr/bin": 0o755, "usr/sbin": 0o755, "var": 0o755, "var/log": 0o755, "var/spool": 0o755,
        "var/spool/mail": 0o755, "var/tmp": 0o1777, "var/www": 0o755,
    }  # fmt: skip
    files = {
        "bin/busybox": (0o755, content),
        "etc/group": (0o644, _GROUP),
        "etc/hosts": (0o644, _HOSTS),
        "etc/nsswitch.conf": (0o644, b"hosts: files dns\n"),
        "etc/passwd": (0o644, _PASSWD),
        "etc/profile": (0o644, b"export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"),
        "etc/shadow": (
            0o640,
            b"".join(line.split(b":")[0] + b":*:::::::\n" for line in _PASSWD.splitlines()),
        ),
    }
    links = {}
    for applet in applets:
        name = applet.strip("/")
        if name and name not in files and ".." not in name.split("/"):
            links[name] = "busybox" if name.startswith("bin/") else "/bin/busybox"
            for parent in list(Path(name).parents)[:-1]:
                folders.setdefault(str(parent), 0o755)
    with workshop.content.ingest() as ingest:
        for name in sorted({*folders, *files, *links}):
            if name in folders:
                _add(ingest, Entry(name.encode() + b"/", DIRECTORY, folders[name], 0, 0, 0, nanoseconds))
            elif name in files:
                mode, data = files[name]
                _add(ingest, Entry(name.encode(), FILE, mode, 0, 0, len(data), nanoseconds), data)
            else:
                entry = Entry(name.encode(), SYMBOLIC_LINK, 0o777, 0, 0, 0, nanoseconds)
                entry.link = links[name].encode()
                _add(ingest, entry)
        ingest.write(bytes(1024))
        return _publish(workshop, ingest)


def _add(ingest: Ingest, entry: Entry, data: bytes = b"") -> None:
    ingest.write(encode(entry))
    if data:
        ingest.write(data)
        ingest.write(padding(len(data)))


def _publish(workshop: Workshop, ingest: Ingest) -> tuple[Digest, int]:
    digest = ingest.digest()
    workshop.hold.add(digest)
    ingest.commit(expected=digest)
    return digest, ingest.size


# --- Debian ---


async def _debian(workshop: Workshop, suite: str) -> Base:
    purpose = "bootstrap debian"
    mmdebstrap = need("mmdebstrap", "mmdebstrap", purpose)
    dpkg = need("dpkg", "dpkg", purpose)
    architecture = (await run(dpkg, "--print-architecture")).decode().strip()
    platform = _platform(architecture, purpose)
    chosen = suite or _os_release().get("VERSION_CODENAME", "")
    if not chosen:
        raise NotImplementedHere("cannot bootstrap debian: this host has no suite of its own, name one")
    seconds = _epoch(int(time.time()))
    notes = {name: f"{workshop.folder}/{name}" for name in ("packages", "version")}
    hooks = [
        *_TIDY,
        f'dpkg-query --admindir="$1"/var/lib/dpkg -W -f="\\${{Package}}=\\${{Version}}\\n" '
        f"> {shlex.quote(notes['packages'])}",
        f'cat "$1"/etc/debian_version > {shlex.quote(notes["version"])}',
    ]
    command = [
        mmdebstrap, "--variant=minbase", "--format=tar", "--skip=output/dev",
        '--aptopt=Acquire::Languages "none"', *(f"--dpkgopt={option}" for option in _SLIM),
        *(f"--customize-hook={hook}" for hook in hooks), chosen, "-",
    ]  # fmt: skip
    workshop.say(f"Installing a minimal Debian {chosen} ({architecture})")
    with workshop.content.ingest() as ingest:

        async def take(piece: bytes) -> None:
            await blocking(ingest.write, piece)

        await run(
            *command,
            environment={"SOURCE_DATE_EPOCH": str(seconds), "TMPDIR": str(workshop.folder)},
            output=take,
            complaint=lambda line: workshop.say(line) if _tells(line) else None,
        )
        layer, size = await blocking(_publish, workshop, ingest)
    packages = _read(notes["packages"]).split()
    if not packages:
        raise InvalidArchive("mmdebstrap made a system without packages")
    repository = parse_normalized("debian")
    names = [repository.with_tag(chosen), *([] if suite else [repository.with_default_tag()])]
    return Base(
        title="debian",
        version=_read(notes["version"]).strip(),
        names=names,
        platform=platform,
        created_ns=seconds * 10**9,
        command=["bash"],
        labels={
            "org.opencontainers.image.description": f"Debian {chosen}, minbase, {len(packages)} packages",
            "org.opencontainers.image.source": f"pkg:generic/debian@{chosen}?arch={architecture}",
            "org.sampan.packages": " ".join(packages),
        },
        steps=[
            f"sampan image bootstrap debian:{chosen} # mmdebstrap --variant=minbase {chosen}, without "
            "documentation, translations and package lists",
            'CMD ["bash"]',
        ],
        layer=layer,
        size=size,
    )


def _tells(line: str) -> bool:
    """True for a line of mmdebstrap that says what it does, but not how it runs our own hooks."""
    return line.startswith(("I: ", "W: ", "E: ")) and "--customize-hook" not in line


# --- the host ---


def _platform(architecture: str, purpose: str) -> Platform:
    try:
        return _PLATFORMS[architecture]
    except KeyError:
        raise NotImplementedHere(f"cannot {purpose}: images know no architecture {architecture}") from None


def _epoch(default: int) -> int:
    """Return ``SOURCE_DATE_EPOCH`` in seconds, or ``default``. Raises InvalidParameter."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise InvalidParameter(f"SOURCE_DATE_EPOCH is {text!r}, not a number of seconds since 1970")
    return int(text)


def _os_release() -> dict[str, str]:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        if text := _read(path):
            pairs = (line.partition("=") for line in text.splitlines())
            return {key: value.strip("\"'") for key, equals, value in pairs if equals}
    return {}


def _distribution() -> str:
    return _os_release().get("ID", "debian")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
