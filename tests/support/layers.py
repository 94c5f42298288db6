"""Layer tars for tests, made with the standard library, which shares no code with the product."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

MTIME = 1_700_000_000
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""The value of ``security.capability`` for cap_net_bind_service=ep."""


class Layer:
    """Collects entries; ``bytes()`` is the tar."""

    def __init__(self, *, format_: int = tarfile.PAX_FORMAT) -> None:
        self._file = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=format_)  # noqa: SIM115

    def add(
        self,
        name: str,
        data: bytes = b"",
        *,
        kind: bytes = tarfile.REGTYPE,
        mode: int = 0o644,
        owner: tuple[int, int] = (0, 0),
        link: str = "",
        device: tuple[int, int] = (0, 0),
        mtime: int = MTIME,
        pax: Mapping[str, str] | None = None,
    ) -> "Layer":
        """Add an entry of any kind; returns the layer itself."""
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime, info.size = kind, mode, mtime, len(data)
        info.uid, info.gid = owner
        info.linkname = link
        info.devmajor, info.devminor = device
        info.pax_headers = dict(pax or {})
        self._tar.addfile(info, io.BytesIO(data))
        return self

    def dir(self, name: str, *, mode: int = 0o755, pax: Mapping[str, str] | None = None) -> "Layer":
        """Add a directory."""
        return self.add(name, kind=tarfile.DIRTYPE, mode=mode, pax=pax)

    def link(self, name: str, target: str) -> "Layer":
        """Add a symbolic link."""
        return self.add(name, kind=tarfile.SYMTYPE, mode=0o777, link=target)

    def hard(self, name: str, target: str) -> "Layer":
        """Add a hard link."""
        return self.add(name, kind=tarfile.LNKTYPE, link=target)

    def bytes(self) -> bytes:
        """Return the archive; nothing can be added any more."""
        self._tar.close()
        return self._file.getvalue()

    def stream(self) -> io.BytesIO:
        """Return the archive as a stream."""
        return io.BytesIO(self.bytes())


class Trickle:
    """A stream that gives at most ``size`` bytes at a time."""

    def __init__(self, data: bytes, size: int = 1) -> None:
        self._stream = io.BytesIO(data)
        self._size = size

    def read(self, size: int, /) -> bytes:
        """Return the next few bytes."""
        return self._stream.read(min(size, self._size))


def saved_layers(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield diffID and uncompressed tar of each layer of the docker-save archive ``path``, base first."""
    with tarfile.open(path) as tar:

        def read(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()

        manifest = json.loads(read("manifest.json"))[0]
        diff_ids = json.loads(read(manifest["Config"]))["rootfs"]["diff_ids"]
        for name, diff_id in zip(manifest["Layers"], diff_ids, strict=True):
            data = read(name)
            if data[:2] == b"\x1f\x8b":
                data = gzip.decompress(data)
            assert f"sha256:{hashlib.sha256(data).hexdigest()}" == diff_id
            yield diff_id, data
