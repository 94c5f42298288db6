"""Base images of the host's packages, with the host's tools played by small scripts."""

import asyncio
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.image_archives import FakeStorage

from sampan.base.errors import HostFailure, InvalidParameter, NotImplementedHere
from sampan.base.events import EventBus
from sampan.base.state import StateDB
from sampan.images import bootstrap, tools
from sampan.images.service import ImagesService
from sampan.oci.config import check_config
from sampan.oci.digest import Digest
from sampan.wire.system import Progress


class Host:
    """A service, and a folder of tools that comes first on PATH."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tools = root / "tools"
        self.tools.mkdir()
        self.state = StateDB(root / "state.db")
        self.storage = FakeStorage()
        self.images = ImagesService(root, self.storage, self.state, EventBus())
        self.said = ""

    def tool(self, name: str, script: str) -> None:
        path = self.tools / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def bootstrap(self, spec: str) -> str:
        lines: list[Progress] = []
        image_id = asyncio.run(self.images.bootstrap(spec, lines.append))
        self.said = "".join(line.stream for line in lines)
        return image_id

    def config(self, image_id: str) -> dict[str, object]:
        path = self.root / "content" / "blobs" / "sha256" / image_id[7:]
        check_config(path.read_bytes())
        document: dict[str, object] = json.loads(path.read_bytes())
        return document


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    found = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{found.tools}:/usr/bin:/bin")
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    yield found
    assert not list((tmp_path / "tmp").iterdir())
    found.state.close()


def program(applets: str, *, interpreter: bool = False) -> bytes:
    """Return the head of an ELF program; the kernel would not run it, a shell script plays it."""
    kind = 3 if interpreter else 1
    head = b"\x7fELF\x02\x01" + bytes(26) + struct.pack("<Q", 64) + bytes(14) + struct.pack("<HH", 56, 1)
    return head.ljust(64, b"\0") + struct.pack("<I", kind) + bytes(52) + applets.encode()


@pytest.fixture
def static_busybox(host: Host, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a script play the busybox that the package holds."""
    path = host.root / "busybox"
    path.write_text("#!/bin/sh\nprintf 'bin/sh\\nusr/bin/awk\\n../../etc/passwd\\nusr/sbin/deep/er\\n'\n")
    path.chmod(0o755)
    monkeypatch.setattr(bootstrap, "_is_static", lambda path: Path(path).name == "busybox")

    async def installed(query: str) -> tuple[str, bootstrap._Package]:
        return str(path), bootstrap._Package("busybox-static", "1:1.35.0-4+b3", "arm64", "debian")

    monkeypatch.setattr(bootstrap, "_installed_busybox", installed)
    return path


def test_busybox(host: Host, static_busybox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = host.bootstrap("busybox")
    assert host.said.endswith("Created image: busybox:latest\n")
    config = host.config(first)
    assert (config["architecture"], config["variant"], config["os"]) == ("arm64", "v8", "linux")
    assert config["created"] == "2023-11-14T22:13:20Z"
    run = config["config"]
    assert isinstance(run, dict)
    assert run["Cmd"] == ["sh"]
    assert run["Labels"]["org.opencontainers.image.version"] == "1.35.0"
    assert run["Labels"]["org.opencontainers.image.source"] == (
        "pkg:deb/debian/busybox-static@1:1.35.0-4+b3?arch=arm64"
    )
    (_, names), *_ = host.storage.snapshots.values()
    assert names == sorted(names)
    assert {"bin/sh", "usr/bin/awk", "usr/sbin/deep", "usr/sbin/deep/er", "tmp", "etc/passwd"} <= set(names)
    assert not any(".." in name for name in names)
    assert [entry.created_by for entry in host.images.history("busybox")] == [
        'CMD ["sh"]',
        "sampan image bootstrap busybox # /bin/busybox of busybox-static=1:1.35.0-4+b3, 4 applets linked",
    ]
    found = host.images.inspect("busybox")
    assert found.descriptor
    assert Digest(found.descriptor.digest)
    assert host.bootstrap("busybox") == first  # the same package, the same image
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(InvalidParameter, match="SOURCE_DATE_EPOCH is 'soon'"):
        host.bootstrap("busybox")


def test_busybox_is_fetched_where_it_is_not_installed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_is_static", lambda path: "package" in path)
    host.tool("apt-get", "test $1 = download && touch busybox-static_1.36.1-1_amd64.deb")
    host.tool(
        "dpkg-deb",
        "case $1 in -f) printf 'Version: 1.36.1-1\\nArchitecture: amd64\\n' ;;"
        " -x) mkdir -p $3/usr/bin; printf '#!/bin/sh\\necho bin/sh\\n' > $3/usr/bin/busybox;"
        " chmod 755 $3/usr/bin/busybox ;; esac",
    )
    monkeypatch.setattr(bootstrap, "_is_static", lambda path: "package" in path and Path(path).exists())
    host.bootstrap("busybox")
    assert "Fetching the package busybox-static\n" in host.said
    labels = host.images.find("busybox").config.labels or {}
    assert labels["org.opencontainers.image.version"] == "1.36.1"
    host.tool("apt-get", "echo 'E: no such package' >&2; exit 100")
    with pytest.raises(HostFailure, match="apt-get failed with exit code 100: E: no such package"):
        host.bootstrap("busybox")


MMDEBSTRAP = """
for word; do case $word in
--customize-hook=*packages*) hook=${word#--customize-hook=} ;; esac; done
packages=$(printf %s "$hook" | sed "s/.*> //")
printf 'apt=2.6\\nbash=5.2\\n' > $packages
echo 12.5 > ${packages%packages}version
echo "I: installing" >&2; echo "I: running --customize-hook in shell" >&2; echo noise >&2
echo $SOURCE_DATE_EPOCH > $TMPDIR/epoch
cd $TMPDIR && tar cf - epoch
"""


def test_debian(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.tool("dpkg", "echo amd64")
    host.tool("mmdebstrap", MMDEBSTRAP)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setattr(bootstrap, "_os_release", lambda: {"VERSION_CODENAME": "bookworm"})
    image_id = host.bootstrap("debian")
    assert host.said == (
        "Installing a minimal Debian bookworm (amd64)\nI: installing\n"
        "Created image: debian:bookworm\nCreated image: debian:latest\n"
    )
    found = host.images.inspect(image_id)
    assert found.repo_tags == ["debian:bookworm", "debian:latest"]
    labels = host.images.find("debian").config.labels or {}
    assert labels["org.opencontainers.image.version"] == "12.5"
    assert labels["org.sampan.packages"] == "apt=2.6 bash=5.2"
    host.bootstrap("debian:trixie")
    assert host.images.find("debian:trixie").id != image_id
    host.tool("mmdebstrap", "echo 'E: no such suite' >&2; exit 25")
    with pytest.raises(HostFailure, match="mmdebstrap failed with exit code 25: E: no such suite"):
        host.bootstrap("debian:nothing")


def test_refusals(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for spec in ("", "alpine", "busybox:1", "debian:", "debian:../x", "debian:a b", "Debian"):
        with pytest.raises(InvalidParameter, match=f'cannot bootstrap "{spec}"'):
            host.bootstrap(spec)
    host.tool("dpkg", "echo m68k")
    host.tool("mmdebstrap", "")
    with pytest.raises(NotImplementedHere, match="images know no architecture m68k"):
        host.bootstrap("debian")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(NotImplementedHere, match="mmdebstrap is missing, install the package mmdebstrap"):
        host.bootstrap("debian")


def test_static_programs(tmp_path: Path) -> None:
    path = tmp_path / "program"
    for content, expected in (
        (program(""), True), (program("", interpreter=True), False), (b"#!/bin/sh", False),
        (b"\x7fELF\x02\x01", False), (b"", False),
    ):  # fmt: skip
        path.write_bytes(content)
        assert bootstrap._is_static(str(path)) is expected
    assert not bootstrap._is_static(str(tmp_path / "nothing"))


def test_cancelling_ends_the_program(tmp_path: Path) -> None:
    async def main() -> None:
        script = f"echo $$ > {tmp_path}/pid; echo go >&2; sleep 1000"
        going = asyncio.Event()
        task = asyncio.get_running_loop().create_task(
            tools.run("/bin/sh", "-c", script, complaint=lambda _: going.set())
        )
        await going.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()
