"""Other engines that somebody has started for us: the file that the variable SAMPAN_PEERS names.

``tests/benchmarks/peers.py`` describes it. Each has a registry in its own network namespace, whose data lies
in ``registry_data``: a registry on the same data, beside our daemon, holds the same images.
"""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

NAMES = ("docker20", "docker26", "podman4", "podman5")
REGISTRY = "127.0.0.1:5000"  # of each peer, in its own network namespace


class Peer:
    """One engine, driven by its command line where it lives; ``shared`` is a folder that it sees too."""

    def __init__(self, document: dict[str, object], place: Path) -> None:
        self.name = str(document["name"])
        self.is_podman = self.name.startswith("podman")
        self.registry_data = Path(str(document["registry_data"]))
        self.shared = place / "work"
        self._environment = {**os.environ, **document.get("env", {})}  # type: ignore[dict-item]
        pid = Path(str(document["pidfile"])).read_text().strip()
        holder = (place / "run" / "holder.pid").read_text().strip()
        enter = ["nsenter", f"--net=/proc/{pid}/ns/net", f"--mount=/proc/{holder}/ns/mnt"]
        self._command = [*enter, *shlex.split(str(document["cli"]))]

    def cli(self, *words: str) -> str:
        """Run its command line; return what it writes."""
        done = subprocess.run(
            [*self._command, *words],
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{self.name} {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def insecurely(self, command: str, *words: str) -> str:
        """Run ``push`` or ``pull`` with a registry that has no certificate."""
        flags = ["--tls-verify=false"] if self.is_podman else []
        return self.cli(command, *flags, *words)

    def image_id(self, name: str) -> str:
        """Return the ID of an image, whole."""
        found = self.cli("image", "inspect", "--format", "{{.Id}}", name).strip()
        return found if found.startswith("sha256:") else f"sha256:{found}"

    def digests(self, name: str) -> list[str]:
        """Return the digests of the manifests by which it knows an image."""
        found = json.loads(self.cli("image", "inspect", name))[0]["RepoDigests"]
        return [each.partition("@")[2] for each in found]


def find_peer(name: str) -> Peer:
    """Return the peer ``name``; skip the calling test where there is none."""
    file = os.environ.get("SAMPAN_PEERS")
    if not file:
        pytest.skip("SAMPAN_PEERS names no other engines")
    for document in json.loads(Path(file).read_text()):
        if document["name"] == name and document.get("registry_data"):
            return Peer(document, Path(file).parent)
    pytest.skip(f"{name} is not among the other engines")
