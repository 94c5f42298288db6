"""Images for tests, made of what the machine has: no registry is asked."""

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

from support.daemon import Daemon

_APPLETS = (
    "sh ash cat echo ls sleep true false httpd wget nc id env hostname ps kill printf head tail seq "
    "dd stty tty wc grep mkdir rm touch ln chmod chown df mount umount date yes cut sed awk test ip "
    "ping od sort uname nslookup rmdir cp mv stat readlink sync top vi xargs tr tee basename dirname "
    "expr md5sum sha256sum find du free uptime nproc ulimit trap whoami pwd "
).split()


def _tar(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _file(name: str, data: bytes, mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    return info, data


def _folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info, b""


def _link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info, b""


def busybox_layer() -> bytes:
    """Return a layer with the machine's static busybox and the files of a small system."""
    program = shutil.which("busybox")
    assert program is not None, "busybox-static is not installed"
    entries = [
        _folder(name) for name in ("bin", "etc", "root", "home", "var", "var/www", "usr", "usr/bin", "proc")
    ]
    entries.append(_folder("tmp", 0o1777))
    entries.append(_file("bin/busybox", Path(program).read_bytes(), 0o755))
    entries += [_link(f"bin/{applet}", "busybox") for applet in _APPLETS]
    entries.append(
        _file(
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
            b"www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
        )
    )
    entries.append(
        _file("etc/group", b"root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nwheel:x:10:nobody\nnogroup:x:65534:\n")
    )
    return _tar(entries)


def docker_archive(name: str, layers: list[bytes], config: dict[str, object]) -> bytes:
    """Return what ``docker save`` wrote before version 25: manifest.json, a config, one folder a layer."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": config,
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
        },
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "made for a test"} for _ in layers],
    }
    encoded = json.dumps(document).encode()
    image = hashlib.sha256(encoded).hexdigest()
    entries = [_file(f"{image}.json", encoded)]
    names = []
    for layer in layers:
        digest = hashlib.sha256(layer).hexdigest()
        names.append(f"{digest}/layer.tar")
        entries += [_folder(digest), _file(names[-1], layer)]
    manifest = [{"Config": f"{image}.json", "RepoTags": [name], "Layers": names}]
    entries.append(_file("manifest.json", json.dumps(manifest).encode()))
    return _tar(entries)


def busybox_archive(name: str = "busybox:latest") -> bytes:
    """Return a loadable archive of a busybox image."""
    config: dict[str, object] = {
        "Cmd": ["sh"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    }
    return docker_archive(name, [busybox_layer()], config)


def load_busybox(daemon: Daemon, name: str = "busybox:latest") -> None:
    """Make sure that ``daemon`` has the image ``name``."""
    client = daemon.client()
    try:
        client.images.load(busybox_archive(name))
    finally:
        client.close()
